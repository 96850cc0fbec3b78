"""Traits of files that tell the class without looking at the picture: a network would learn them instead."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LEAST = 8  # pictures of a class, below which nothing is said of it
MOST_OF_CLASS, FEW_OF_OTHERS = 0.8, 0.1


class Giveaway(NamedTuple):
    label: str
    trait: str  # size, format, mode, border
    value: str
    of_class: float  # the share that has it
    of_others: float


def giveaways(labels: Sequence[str], traits: Mapping[str, Sequence[str]]) -> list[Giveaway]:
    """Return each value of a trait that most pictures of one class have, and few of all others."""
    sizes = Counter(labels)
    found = []
    for trait, values in traits.items():
        total, both = Counter(values), Counter(zip(labels, values, strict=True))
        for (label, value), count in both.items():
            others = len(labels) - sizes[label]
            if sizes[label] < LEAST or others < LEAST or not value:
                continue
            of_class, of_others = count / sizes[label], (total[value] - count) / others
            if of_class >= MOST_OF_CLASS and of_others <= FEW_OF_OTHERS:
                found.append(Giveaway(label, trait, value, of_class, of_others))
    return sorted(found, key=lambda giveaway: (-giveaway.of_class, giveaway))
