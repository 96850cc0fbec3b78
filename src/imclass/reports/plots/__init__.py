"""Plots of a run, drawn from its own records; one kind a file."""

from imclass.reports.plots.calibration import plot_calibration
from imclass.reports.plots.classes import plot_classes
from imclass.reports.plots.confusion import plot_confusion_matrix
from imclass.reports.plots.curves import plot_comparison, plot_curves
from imclass.reports.plots.pictures import Picture, heat_legend, plot_pictures

__all__ = [
    "Picture",
    "heat_legend",
    "plot_calibration",
    "plot_classes",
    "plot_comparison",
    "plot_confusion_matrix",
    "plot_curves",
    "plot_pictures",
]
