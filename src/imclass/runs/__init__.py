"""Everything in a run folder, written and read back."""
