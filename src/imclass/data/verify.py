"""Everything that is wrong with a data set, where training stops at the first."""

from dataclasses import dataclass
from typing import NamedTuple

from imclass.config.schema import DatasetConfig
from imclass.data import cifar, fashion_mnist
from imclass.data.datasets import load_dataset
from imclass.data.sources import REMEDY
from imclass.data.splits import check_parts
from imclass.errors import UserError


class Problem(NamedTuple):
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The files that were read, and the problems found.

    ignored: files that training passes over. root: the folder of a named data set that the problems are in.
    """

    images: int
    classes: tuple[str, ...]
    problems: list[Problem]
    ignored: list[Problem]
    root: str = ""


FILES = {  # of data sets in several files: those that are damaged, by path
    "fashion_mnist": fashion_mnist.damaged_files,
    "cifar10": cifar.damaged_files,
    "cifar100": cifar.damaged_files,
}


def verify_named(name: str, root: str | None = None) -> Verified:
    """Read a data set by its name, without downloading it: each file's checksum, and the range of labels."""
    config = DatasetConfig(name=name, root=root, download=False)
    damaged = FILES[name](config) if name in FILES else {}
    if damaged:
        problems = [
            Problem(path.name, reason.removesuffix(f"; {REMEDY}")) for path, reason in damaged.items()
        ]
        return Verified(0, (), problems, [], root=str(next(iter(damaged)).parent))
    try:
        dataset = load_dataset(config)
        check_parts(dataset)
    except UserError as error:
        path, _, reason = str(error).partition(": ")
        return Verified(0, (), [Problem(path, reason)], [])
    parts = (dataset.train, dataset.val, dataset.test)
    return Verified(sum(len(part) for part in parts if part is not None), dataset.classes, [], [])
