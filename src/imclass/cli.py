"""imclass <command>: dispatch only. Torch is imported by the commands, once they have work to do."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from imclass.errors import UserError, did_you_mean, exit_code_of
from imclass.machine.signals import STOP

HELP = """\
imclass: train image classifiers in PyTorch from YAML.

  imclass train [group=choice ...] [key=value ...] [-m]   train; the same command resumes
  imclass check [the same]                                find every mistake, touch nothing
  imclass sweep sweep=NAME [sweep.trials=N ...] [...]     search hyperparameters; the same command resumes
  imclass evaluate RUN [--split val] [--tta flip]         all figures of a trained model, and its plots
  imclass predict  RUN FILE|DIR ... [--sheet OUT.png]     what is on these pictures?
  imclass report   RUN|FOLDER ... [--out FILE.html]       one run, or a comparison of many
  imclass list     models|datasets|optimizers|schedulers|augments|experiments|sweeps

  imclass train                                           ResNet-18 on bundled Fashion-MNIST images
  imclass train model=vgg11 dataset=cifar10 train.epochs=20 name=mine
  imclass train dataset=image_folder dataset.root=FOLDER  your own pictures: one folder per class
  imclass train --help                                    groups, choices and settings
  imclass evaluate --help                                 likewise for the other commands
"""


def train(argv: Sequence[str]) -> None:
    from imclass.train import train_command

    train_command(argv)


def sweep(argv: Sequence[str]) -> None:
    from imclass.commands.sweep import sweep_command

    sweep_command(argv)


def check(argv: Sequence[str]) -> None:
    from imclass.commands.check import check_command

    check_command(argv)


def list_choices(argv: Sequence[str]) -> None:
    from imclass.commands.list import list_command

    list_command(argv)


def evaluate(argv: Sequence[str]) -> None:
    from imclass.commands.evaluate import evaluate_command

    evaluate_command(argv)


def predict(argv: Sequence[str]) -> None:
    from imclass.commands.predict import predict_command

    predict_command(argv)


def report(argv: Sequence[str]) -> None:
    from imclass.commands.report import report_command

    report_command(argv)


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": train,
    "check": check,
    "sweep": sweep,
    "evaluate": evaluate,
    "predict": predict,
    "report": report,
    "list": list_choices,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code of `errors.py`. A mistake is one line on stderr per problem."""
    argv = list(sys.argv[1:] if argv is None else argv)
    return exit_code_of(lambda: _dispatch(argv), debug="debug=true" in argv)


def script() -> NoReturn:
    """The command `imclass`: all that its process does."""
    STOP.ends_process = True
    sys.exit(main())


def _dispatch(argv: Sequence[str]) -> None:
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(HELP, end="")
        return
    if argv[0] == "--version":
        from imclass import __version__

        print(f"imclass {__version__}")
        return
    if argv[0] not in COMMANDS:
        near = did_you_mean(argv[0], COMMANDS)
        raise UserError(f"{argv[0]}: no such command; expected one of {', '.join(COMMANDS)}{near}")
    COMMANDS[argv[0]](argv[1:])
