"""Arguments of the commands that act on run folders: a mistake is one line, as everywhere."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

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


def _weights(text: str) -> str:
    if text not in ("best", "last") and not Path(text).expanduser().is_file():
        raise UserError(f"--weights {text}: expected best, last, or a file of weights")
    return text
