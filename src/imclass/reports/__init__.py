"""Plots and HTML pages of finished runs."""
