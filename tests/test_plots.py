"""Plots are PNG files of the sizes that they promise, for any number of classes and any names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from pictures import colours, pixels
from PIL import Image

from imclass.config.metric import ACCURACY, LOSS, METRICS, Metric
from imclass.reports.plots import (
    Picture,
    confusion,
    curves,
    plot_calibration,
    plot_comparison,
    plot_confusion_matrix,
    plot_curves,
    plot_pictures,
    search,
)
from imclass.reports.plots.search import Axis, Point, plot_slices
from imclass.runs.metrics_file import evaluation_rows

ODD = ["$x_1$", "a\nb", "名前", "a very long name of a class that goes on", "%", "\\", "<b>"]


def records(accuracies: list[float]) -> list[dict]:
    rows = []
    for epoch, accuracy in enumerate(accuracies, start=1):
        figures = {"step": epoch, "epoch": epoch, "loss": 1 - accuracy, "accuracy": accuracy, "images": 10}
        rows += [{"split": "train", "lr": 0.1, **figures}, {"split": "val", **figures}]
    return rows


def size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        assert image.format == "PNG"
        return image.size


@pytest.mark.parametrize("classes", [2, 7, 10, 30, 100, 300])
def test_confusion_matrix_at_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    matrix = (np.eye(classes, dtype=int) * 9 + 1).tolist()
    names = [*ODD, *(f"class{i}" for i in range(300))][:classes]
    plot_confusion_matrix(matrix, names, tmp_path / "matrix.png")
    assert 300 < max(size(tmp_path / "matrix.png")) < 2000
    plot_confusion_matrix(np.zeros((classes, classes), int).tolist(), names, tmp_path / "empty.png")


def test_the_title_of_a_small_confusion_matrix_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(confusion, "save", lambda figure, file: figures.append(figure))
    plot_confusion_matrix([[1, 0], [0, 1]], ["a long name, shortened", "b"], tmp_path / "matrix.png")
    figures[0].draw_without_rendering()
    title = figures[0].get_suptitle()
    (text,) = (text for text in figures[0].texts if text.get_text() == title)
    extent = text.get_window_extent()
    assert title.startswith("Confusion matrix") and 0 < extent.x0 < extent.x1 < figures[0].bbox.x1


def test_wrong_pictures_have_a_red_frame_and_right_ones_none(tmp_path: Path) -> None:
    image, red = torch.zeros(1, 8, 8, dtype=torch.uint8), (0xCC, 0x33, 0x11)
    for right in (True, False, None):
        plot_pictures([Picture(image, "x", right)] * 3, "title", tmp_path / "sheet.png")
        assert (red in colours(tmp_path / "sheet.png")) == (right is False)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (4, 8, 8), (3, 300, 300)])
@pytest.mark.parametrize("count", [0, 1, 8, 33])
def test_sheets_grow_with_the_number_of_pictures(tmp_path: Path, shape: tuple[int, ...], count: int) -> None:
    images = torch.randint(256, (count, *shape), dtype=torch.uint8)
    pictures = [Picture(image, ODD[i % 7]) for i, image in enumerate(images)]
    plot_pictures(pictures, "$title", tmp_path / "sheet.png")
    _, height = size(tmp_path / "sheet.png")
    rows = max(1, -(-count // 8))
    assert 150 * rows < height < 170 * rows + 50


def test_curves_of_one_evaluation_and_of_many(tmp_path: Path) -> None:
    for accuracies in ([0.5], [0.1 * i for i in range(9)]):
        rows = records(accuracies)
        plot_curves(rows, rows[-1], tmp_path / "curves.png")
        assert size(tmp_path / "curves.png")[0] == 1210


def test_the_best_epoch_and_the_learning_rate_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(curves, "save", lambda figure, file: figures.append(figure))
    rows = records([0.2, 0.9, 0.5])
    plot_curves(rows, rows[3], tmp_path / "curves.png")
    accuracy, loss, rate = figures[0].axes
    for axes, value in ((accuracy, 0.9), (loss, pytest.approx(0.1))):
        (ring,) = (line for line in axes.lines if line.get_label() == "best model")
        assert (ring.get_xdata(), ring.get_ydata()) == ([2], [value])
    assert accuracy.get_title(loc="left") + accuracy.get_title() == "Accuracy: best 90.0% at epoch 2"
    assert list(rate.lines[0].get_ydata()) == [0.1] * 3


def test_comparison_of_more_runs_than_there_are_colours(tmp_path: Path) -> None:
    groups = [(f"run{i}", [records([0.1, 0.2 + i / 100])] * 2) for i in range(12)]
    plot_comparison(groups, tmp_path / "comparison.png")
    seen = colours(tmp_path / "comparison.png")
    assert {(0x00, 0x72, 0xB2), (0xBB, 0xBB, 0xBB)} <= seen


def test_calibration_of_one_bin_and_none(tmp_path: Path) -> None:
    row = {"confidence": 0.9, "accuracy": 0.5, "images": 10}
    for bins in ([row], []):
        plot_calibration(bins, 0.4, tmp_path / "calibration.png")
        assert size(tmp_path / "calibration.png") == (506, 572)


def test_the_mistakes_of_a_true_class_are_in_its_row(tmp_path: Path) -> None:
    """One in ten of the first class is taken for the second: red at the upper right, nowhere else."""
    plot_confusion_matrix([[9, 1], [0, 10]], ["first", "second"], tmp_path / "matrix.png")
    image = pixels(tmp_path / "matrix.png").int()
    red = (image[0] > 180) & (image[1] < 120) & (image[2] < 120)
    blue = (image[2] > 170) & (image[0] < 120)
    rows, columns = (axis.float() for axis in red.nonzero(as_tuple=True))
    diagonal = blue.nonzero(as_tuple=True)
    assert len(rows) > 1000
    assert rows.max() < diagonal[0].float().mean() + 2
    assert columns.min() > diagonal[1].float().mean() - 2


def test_the_curve_of_accuracy_rises_where_the_accuracy_does(tmp_path: Path) -> None:
    rows = [r for r in records([0.2, 0.4, 0.9]) if r["split"] == "val"]
    plot_curves(rows, rows[-1], tmp_path / "curves.png")
    left = pixels(tmp_path / "curves.png")[:, :, :400].int()
    line = ((left[0] < 40) & (left[1] > 90) & (left[1] < 140) & (left[2] > 150)).nonzero()
    first, last = (line[line[:, 1] == column, 0].float().mean() for column in line[:, 1].aminmax())
    assert last < first - 100  # pixels count from the top


def test_another_metric_is_drawn_and_tabled_where_it_was_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(curves, "save", lambda figure, file: figures.append(figure))
    monkeypatch.setitem(METRICS, "recall", Metric("recall", "mean recall", maximize=True, percent=True))
    rows = records([0.2, 0.9])
    plot_curves(rows, rows[3], tmp_path / "curves.png")
    rows = [row | {"recall": 0.4} for row in rows if row["split"] == "val"]
    plot_curves(rows, rows[1], tmp_path / "curves.png")
    titles = [[axes.get_title(loc="left") for axes in figure.axes] for figure in figures]
    assert len(titles[0]) == 3
    assert titles[1][2] == "Mean recall: best 40.0% at epoch 2"
    assert evaluation_rows(rows)[0]["val_recall"] == 0.4


def test_slices_have_every_trial_at_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(search, "save", lambda figure, file: figures.append(figure))
    points = [
        Point(1, "complete", 0.2, {"lr": "0.1", "model": "b"}, []),
        Point(0, "pruned", 0.7, {"lr": "0.001", "model": "a"}, []),
        Point(2, "pruned", 50.0, {"lr": "10", "model": "a"}, []),
    ]
    plot_slices(points, [Axis("lr", log=True), Axis("model", ("a", "b"))], LOSS, tmp_path / "slices.png")
    rates, models = figures[0].axes
    assert rates.get_xscale() == "log"
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in rates.lines}
    assert drawn["completed"] == drawn["the best"] == ([0.1], [0.2])
    assert drawn["pruned (last value)"] == ([0.001, 10.0], [0.7, 50.0])
    assert [label.get_text() for label in models.get_xticklabels()] == ["a", "b"]
    assert list(models.lines[0].get_xdata()) == [1]
    assert rates.get_ylim()[1] < 3  # one that diverged does not flatten the others


def test_a_metric_knows_which_way_is_better_and_how_it_is_written() -> None:
    assert sorted([0.2, 0.9, 0.5], key=ACCURACY.rank) == [0.9, 0.5, 0.2]
    assert sorted([0.2, 0.9, 0.5], key=LOSS.rank) == [0.2, 0.5, 0.9]
    assert (ACCURACY.show(0.12345), LOSS.show(0.12345)) == ("12.35 %", "0.1235")
