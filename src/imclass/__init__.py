"""imclass: train image classifiers from YAML with one command."""

__version__ = "0.1.0"
