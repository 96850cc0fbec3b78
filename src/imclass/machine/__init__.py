"""What it runs on: device, processes, signals, randomness."""
