"""Arguments of the commands that act on run folders: a mistake is one line, as everywhere."""

import argparse
from typing import NoReturn

from imclass.errors import UserError


class Arguments(argparse.ArgumentParser):
    """argparse, but a mistake is a UserError instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")
