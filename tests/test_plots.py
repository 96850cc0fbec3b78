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
    calibration,
    confusion,
    curves,
    heat_legend,
    plot_calibration,
    plot_comparison,
    plot_confusion_matrix,
    plot_curves,
    plot_pictures,
    search,
)
from imclass.reports.plots import classes as bars
from imclass.reports.plots import pictures as sheets
from imclass.reports.plots.calibration import wilson_interval
from imclass.reports.plots.classes import plot_classes
from imclass.reports.plots.search import Axis, Point, plot_slices
from imclass.reports.plots.style import shortened
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
    rows = -(-count // 8)
    assert 150 * rows < height < 170 * rows + 50


def test_captions_never_overlap_and_titles_stay_on_their_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(sheets, "save", lambda figure, file: figures.append(figure))
    image, heat = torch.zeros(1, 8, 8, dtype=torch.uint8), torch.zeros(8, 8)
    for pictures in (
        [Picture(image, f"{'W' * 60}\n$_{'i' * 200}")] * 9,
        [Picture(image, "W" * 60, None, heat)] * 5,
    ):
        plot_pictures(pictures, "a title of many words " * 8, tmp_path / "sheet.png")
    for figure in figures:
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
        for number, box in enumerate(boxes):
            assert 0 < box.x0 < box.x1 < figure.bbox.x1
            assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_a_heat_map_is_drawn_beside_its_image(tmp_path: Path) -> None:
    heat = torch.zeros(8, 8)
    heat[:4] = 1
    plot_pictures(
        [Picture(torch.full((1, 8, 8), 200, dtype=torch.uint8), "x", None, heat)], "t", tmp_path / "a.png"
    )
    sheet = pixels(tmp_path / "a.png").int()
    top, left = sheets.TITLE + sheets.TITLE_LINE, sheets.GAP + sheets.SIDE + sheets.PAIR
    plain = tuple(sheet[:, top + 20, sheets.GAP + 50].tolist())
    hot, cold = (sheet[:, top + row, left + 50] for row in (20, 90))
    assert plain == (200, 200, 200)
    assert hot[0] > hot[2] + 50 and hot.sum() > cold.sum() + 150


def test_a_map_without_evidence_is_explained_in_the_title() -> None:
    image, hot, cold = torch.zeros(1, 8, 8, dtype=torch.uint8), torch.ones(8, 8), torch.zeros(8, 8)
    legends = [
        heat_legend([Picture(image, "x", None, heat) for heat in heats])
        for heats in ([None], [hot], [hot, cold])
    ]
    assert legends[0] == "" and "Grad-CAM" in legends[1] and "grey all over" not in legends[1]
    assert legends[2] == f"{legends[1]}; grey all over: nothing does"


def test_names_stay_different_where_the_font_lacks_their_characters() -> None:
    names = [shortened(name, 99) for name in ("\N{SLICE OF PIZZA}", "\N{HAMBURGER}", "Möwe \x1b")]
    assert names == ["[1f355]", "[1f354]", "Möwe [1b]"]


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


def test_one_outlier_does_not_flatten_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(curves, "save", lambda figure, file: figures.append(figure))
    usual = records([0.1 * i for i in range(1, 9)])
    spike = [row | {"loss": 1e4} if row["epoch"] == 5 and row["split"] == "train" else row for row in usual]
    for rows in (usual, spike):
        plot_curves(rows, rows[-1], tmp_path / "curves.png")
    calm, cut = (figure.axes[1] for figure in figures)
    assert not calm.texts and 0.9 < calm.get_ylim()[1] < 1.1
    assert cut.get_ylim()[1] < 3
    assert cut.texts[0].get_text().startswith("1 above ") and "1e+04" in cut.texts[0].get_text()


def test_a_noisy_line_is_smoothed_and_its_points_stay_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(curves, "save", lambda figure, file: figures.append(figure))
    rows = records([0.5 + 0.2 * (-1) ** i for i in range(90)])
    plot_curves(rows, None, tmp_path / "curves.png")
    raw, smooth = figures[0].axes[0].lines[:2]
    expected = np.convolve([0.5 + 0.2 * (-1) ** i for i in range(90)], np.ones(7) / 7, "valid")
    assert list(smooth.get_ydata())[3:-3] == pytest.approx(expected)
    assert smooth.get_label() == "training, smoothed" and raw.get_alpha() < 0.5


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


def test_the_wilson_interval_and_bins_that_are_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """9 of 10: 0.596 to 0.982; 81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table I)."""
    assert wilson_interval(0.9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    figures: list[Figure] = []
    monkeypatch.setattr(calibration, "save", lambda figure, file: figures.append(figure))
    bins = [{"confidence": c, "accuracy": 0.5, "images": n} for c, n in ((0.2, 9), (0.6, 10), (0.9, 80))]
    plot_calibration(bins, 0.1, tmp_path / "calibration.png")
    (drawn,) = (line for line in figures[0].axes[0].lines if line.get_marker() == "o")
    assert list(drawn.get_xdata()) == [0.6, 0.9]
    (legend,) = figures[0].legends
    assert "not shown: 1 of 3 bins, with fewer than 10 images" in [t.get_text() for t in legend.get_texts()]


def test_rows_name_their_images_and_those_of_few_are_pale(tmp_path: Path) -> None:
    """The same share has the same colour in every matrix, but for classes of few images."""
    strongest = []
    for name, matrix in {
        "many": [[90, 10], [0, 100]],
        "worse": [[90, 10], [60, 40]],
        "few": [[0, 9], [0, 100]],
    }.items():
        plot_confusion_matrix(matrix, ["first", "second"], tmp_path / f"{name}.png")
        image = pixels(tmp_path / f"{name}.png").int()
        red = image[:, image[0] > image[2] + 30]
        strongest.append({tuple(column) for column in red.T.tolist()})
    tenth = tuple((255 * np.array(confusion.WRONG(0.9 * 0.4**0.5)[:3])).astype(int).tolist())
    assert tenth in strongest[0] and tenth in strongest[1]
    assert min(green for _, green, _ in strongest[2]) > 150


def test_classes_are_bars_with_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(bars, "save", lambda figure, file: figures.append(figure))
    plot_classes({"train": [3, 9], "test": [1, 2]}, ["few", "many"], tmp_path / "classes.png")
    axes = figures[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["many", "few"]
    assert [patch.get_width() for patch in axes.patches] == [9, 3, 2, 1]
    assert [text.get_text().strip() for text in axes.texts] == ["11", "4"]
    plot_classes({"train": list(range(1, 301))}, [f"class{i}" for i in range(300)], tmp_path / "classes.png")
    assert figures[1].axes[0].get_xlabel() == "classes, from class299 (300) to class0 (1)"


def test_the_mistakes_of_a_true_class_are_in_its_row(tmp_path: Path) -> None:
    """One in ten of the first class is taken for the second: red at the upper right, nowhere else."""
    plot_confusion_matrix([[9, 1], [0, 10]], ["first", "second"], tmp_path / "matrix.png")
    image = pixels(tmp_path / "matrix.png").int()
    red = (image[0] > 180) & (image[1] < 150) & (image[2] < 140)
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
