"""metrics.jsonl read back: its records, and the table of evaluations made from them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def read_metrics(path: Path) -> list[Record]:
    """Return the records of a metrics.jsonl; a last line that was not written to its end is left out."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def evaluation_rows(records: Iterable[Record]) -> list[Record]:
    """Return one row per validation, with the means of the training points since the one before."""
    rows, train = [], []
    for record in records:
        if record["split"] == "train":
            train.append(record)
        elif record["split"] == "val":
            rows.append(_row(record, train))
            train = []
    return rows


def _row(val: Record, train: list[Record]) -> Record:
    images = sum(r["images"] for r in train)

    def mean(key: str) -> float | None:
        values = [(r[key], r["images"]) for r in train]
        if not images or any(v is None for v, _ in values):
            return None
        return sum(v * n for v, n in values) / images

    return {
        "step": val["step"],
        "epoch": val["epoch"],
        "train_loss": mean("loss"),
        "train_accuracy": mean("accuracy"),
        "val_loss": val["loss"],
        "val_accuracy": val["accuracy"],
        "lr": train[-1]["lr"] if train else None,
    }
