"""Many processes want the same thing at once: one run name, one cache of images."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imclass.commands.selftest.points import call
from imclass.commands.selftest.trainings import Training, overrides
from imclass.commands.selftest.trial import Bench, Lost, Trial, require_same
from imclass.errors import EXIT_MISTAKE

CROWD = 16
PICTURES = 6  # of each class and part


@dataclass(frozen=True)
class CountCalls:
    """Add a line to a file whenever a function is called."""

    function: str
    file: Path

    def __call__(self) -> None:
        call(self.function)(lambda: print("called", file=self.file.open("a")))


def trials(bench: Bench) -> Iterator[Trial]:
    """Yield one crowd on a name, and one on a cache."""
    name = f"{CROWD} processes on one run name"
    yield Trial(name, "one name", partial(_one_name, bench.whole()), CROWD)
    name = f"{CROWD} processes on one cache of images"
    yield Trial(name, "one cache", _one_cache, CROWD)


def _one_name(whole: Path, folder: Path) -> None:
    """One trains; the others are refused while it does, and repeat its summary afterwards."""
    crowd = [Training(overrides("shared"), folder=folder, log=f"log{number}.txt") for number in range(CROWD)]
    trained = []
    for process in crowd:
        code = process.wait()
        refused = code == EXIT_MISTAKE and ("in use by" in process.log or "began this run" in process.log)
        if not refused and code != 0:
            raise Lost(f"exit code {code}\n{process.log[-3000:]}")
        if code == 0 and "finished already" not in process.log:
            trained.append(process)
    if len(trained) != 1:
        raise Lost(f"{len(trained)} of {CROWD} processes have trained where one was due")
    require_same(folder / "outputs/shared", whole)


def _one_cache(folder: Path) -> None:
    """One decodes the images, the others wait for it; all train on the same."""
    _draw_pictures(folder / "pictures")
    more = ["dataset=image_folder", f"dataset.root={folder / 'pictures'}", "dataset.resize=16"]
    more += ["train.epochs=null", "train.steps=1", "train.batch_size=2", "dataset.val_split=4"]
    settings = [setting for setting in overrides("", *more) if "synthetic." not in setting][1:]
    decoded = folder / "decoded.txt"
    crowd = [
        Training(
            [f"name=run{number}", *settings],
            CountCalls("imclass.data.folder.dataset:read_images", decoded),
            folder=folder,
            environment={"IMCLASS_CACHE": str(folder / "cache")},
            log=f"log{number}.txt",
        )
        for number in range(CROWD)
    ]
    for process in crowd:
        if code := process.wait():
            raise Lost(f"exit code {code}\n{process.log[-3000:]}")
    if (times := decoded.read_text().count("called") / 2) != 1:  # their headers, then their pixels
        raise Lost(f"the images were decoded {times:g} times")
    summaries = [json.loads(file.read_text()) for file in folder.glob("outputs/*/summary.json")]
    if len({json.dumps(summary["test"]) for summary in summaries}) != 1:
        raise Lost("not all of them trained on the same images")


def _draw_pictures(root: Path) -> None:
    from PIL import Image

    dice = random.Random(0)
    for part in ("train", "test"):
        for label in ("one", "two"):
            (root / part / label).mkdir(parents=True)
            for number in range(PICTURES):
                pixels = dice.randbytes(3 * 16 * 16)
                Image.frombytes("RGB", (16, 16), pixels).save(root / part / label / f"{number}.png")
