"""Classes of 20 to 2,000 images: what class weights, balanced drawing and the focal loss change.

    python scripts/bench/uneven.py --root FOLDER [--seeds 3] [--output uneven.json] [overrides]

FOLDER: CIFAR-10 as an image folder with train/ and test/. Of the training images of each class, in the order
of its name, 20 to 2,000 are kept, in a geometric series; all test images are. Each seed trains each way with
one thread, evaluated once, at the end: what differs is the training alone. overrides: of all trainings.

  macro recall  mean over classes, of the test images; they are even, so that it is the accuracy
  rare, many    recall of the three smallest classes, and of the three largest

Measured on JPEGs with `model=lenet optimizer.lr=0.03 train.epochs=15`, 3 seeds, in %, macro recall first:
nothing 40.6 ± 1.1, rare 0.3; balance 44.0 ± 1.1, 15.0; class_weights=auto 38.8 ± 2.8, 22.6; inverse
35.5 ± 0.8, 36.1; focal_gamma=2 40.9 ± 0.5, 0.8, with weights 37.5 ± 2.2, 19.0. Weights move recall from the
large classes to the small ones; balanced drawing alone raised its mean.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FEWEST, MOST = 20, 2_000
WAYS = {
    "nothing": [],
    "class_weights=auto": ["train.class_weights=auto"],
    "class_weights=inverse": ["train.class_weights=inverse"],
    "balance": ["dataset.balance=true"],
    "focal_gamma=2": ["train.focal_gamma=2"],
    "focal_gamma=2, weights": ["train.focal_gamma=2", "train.class_weights=auto"],
}
RUN = ["model=speednet", "augment=crop_flip", "augment.crop=2", "optimizer.lr=0.1", "scheduler=linear"]
RUN += ["scheduler.warmup=10%", "train.epochs=12", "train.batch_size=64", "train.eval_every=1000ep"]
RUN += ["device.threads=1", "logger.plots=false"]
FIGURES = ("macro recall", "rare", "many", "seconds")
Row = dict[str, float]


def cut(root: Path, to: Path) -> dict[str, int]:
    """Copy the first images of each class of train/, and all of test/; return how many of each class."""
    classes = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())
    ratio = (MOST / FEWEST) ** (1 / (len(classes) - 1))
    counts = {name: round(FEWEST * ratio**number) for number, name in enumerate(classes)}
    for name, count in counts.items():
        (to / "train" / name).mkdir(parents=True)
        for file in sorted((root / "train" / name).iterdir())[:count]:
            shutil.copy(file, to / "train" / name)
        shutil.copytree(root / "test" / name, to / "test" / name)
    return counts


def train(data: Path, folder: Path, seed: int, overrides: list[str]) -> Row:
    """Return the test figures of one run."""
    command = [sys.executable, "-m", "imclass", "train", "dataset=image_folder", f"dataset.root={data}"]
    place = [f"output_dir={folder}", "name=run", "logger.quiet=true", f"seed={seed}", "resume=never"]
    subprocess.run([*command, *overrides, *place], check=True, stdout=subprocess.DEVNULL)
    run = folder / "run"
    summary = json.loads((run / "summary.json").read_text())
    recalls = [row["recall"] for row in json.loads((run / "evaluation.json").read_text())["classes"]]
    shutil.rmtree(run)
    return {
        "macro recall": summary["test"]["balanced_accuracy"],
        "rare": statistics.mean(recalls[:3]),
        "many": statistics.mean(recalls[-3:]),
        "seconds": summary["seconds"]["train"],
    }


def table(rows: dict[str, list[Row]]) -> str:
    """Return mean and standard deviation over the seeds of each way."""
    lines = [f"{'':24}" + "".join(f"{name:>16}" for name in FIGURES)]
    for way, found in rows.items():
        cells = []
        for name in FIGURES:
            values = [row[name] for row in found]
            scale, digits = (1, 0) if name == "seconds" else (100, 1)
            spread = f" ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{scale * statistics.mean(values):.{digits}f}{spread}")
        lines.append(f"{way:24}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("uneven.json"))
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    rows: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        counts = cut(options.root, Path(scratch, "data"))
        for seed in range(options.seeds):
            for way, own in WAYS.items():
                overrides = list(
                    {text.split("=")[0]: text for text in (*RUN, *own, *options.overrides)}.values()
                )
                rows.setdefault(way, []).append(train(Path(scratch, "data"), Path(scratch), seed, overrides))
                options.output.write_text(json.dumps({"images": counts, "rows": rows}, indent=1))
            print(f"{seed + 1} of {options.seeds} seeds\n{table(rows)}", flush=True)


if __name__ == "__main__":
    main()
