"""Arguments of the commands that act on run folders: a mistake is one line, as everywhere."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

from imclass.config.run_names import user_path
from imclass.errors import UserError, did_you_mean


class Arguments(argparse.ArgumentParser):
    """argparse, but a mistake is a UserError instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a choice as we do elsewhere; argparse's own message names no near one."""
        if action.choices is not None and value not in action.choices:
            name = "/".join(action.option_strings) or action.metavar or action.dest
            choices = ", ".join(map(str, action.choices))
            raise UserError(f"{name} {value}: expected one of {choices}{did_you_mean(value, action.choices)}")

    def add_weights(self) -> None:
        """Add --weights: which of a run's weights, or a file of others."""
        self.add_argument(
            "--weights", type=_weights, default="best", help="best (default), last, or a file of weights"
        )


def require_new_file(option: str, file: Path | None, suffix: str) -> None:
    """Raise UserError for a file that cannot be written, exists already, or lacks the ending `suffix`.

    None: the option was not typed.
    """
    if file is None:
        return
    if file.suffix.lower() != suffix:
        raise UserError(f"{option} {file}: expected a name that ends in {suffix}: {file.stem}{suffix}")
    if not file.parent.is_dir():
        raise UserError(f"{option} {file}: no such folder: {file.parent}")
    if file.exists():
        raise UserError(f"{option} {file}: is there already; name another file, or remove it")


def _weights(text: str) -> str:
    if text not in ("best", "last") and not user_path(text).is_file():
        raise UserError(f"--weights {text}: expected best, last, or a file of weights")
    return text
