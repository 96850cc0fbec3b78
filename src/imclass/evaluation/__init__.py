"""What a model says of a split: figures, test-time views, a model opened from its run folder."""
