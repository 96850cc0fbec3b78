"""Hyperparameter search: space, study on disk, the trials' processes, queue, report."""
