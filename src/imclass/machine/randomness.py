"""Randomness as a function of (seed, purpose, position), with no state to save or restore."""

import hashlib
import random

import numpy as np
import torch


def derive_seed(seed: int, purpose: str, position: int = 0) -> int:
    """Return a number in 0..2**63-1 determined by the three arguments."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{position}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str, position: int = 0) -> torch.Generator:
    """Return a CPU generator for this purpose and position (a step or an epoch)."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, position))


def seed_everything(seed: int, purpose: str, position: int = 0) -> None:
    """Seed the global generators of Python, numpy and torch on all devices (initial weights, dropout)."""
    value = derive_seed(seed, purpose, position)
    random.seed(value)
    np.random.seed(value % 2**32)
    if torch.accelerator.is_available():
        torch.manual_seed(value)
    else:  # without one, `manual_seed` also writes down the call stack for each kind of accelerator
        torch.default_generator.manual_seed(value)


def use_deterministic_kernels() -> None:
    """Make cuDNN use deterministic kernels and skip its autotuner."""
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
