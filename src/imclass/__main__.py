"""python -m imclass <command>: the command imclass."""

from imclass.cli import script

if __name__ == "__main__":
    script()
