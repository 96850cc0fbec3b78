"""Evaluates a model on a split: metrics, test-time augmentation, a model opened from its run folder."""
