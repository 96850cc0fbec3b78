"""Imported by the fork server before it forks: composing a first configuration costs a third of a second."""

from imclass.config.compose import compose_config

compose_config([], [], to_train=False)
