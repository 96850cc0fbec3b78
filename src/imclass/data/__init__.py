"""Data: uint8 tensors in, augmented batches on the device out."""
