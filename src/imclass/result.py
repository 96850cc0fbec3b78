"""What an evaluation finds."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """Mean loss per image and accuracy (0..1) over `images` images."""

    loss: float
    accuracy: float
    images: int

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss)

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}, accuracy {self.accuracy:.2%}"
