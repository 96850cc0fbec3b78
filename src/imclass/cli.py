"""imclass <command>: a table. A command is imported when called, torch when the command has work to do."""

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from imclass.endings import begin_process, end_process, exit_code_of
from imclass.errors import UserError, did_you_mean
from imclass.machine.signals import answer_signals

# Command -> the function that runs it, its arguments, and what it does.
COMMANDS = {
    "train": (
        "imclass.train:train_command",
        "[FOLDER] [group=choice ...] [key=value ...] [-m]",
        "train; the same command resumes",
    ),
    "check": (
        "imclass.commands.check:check_command",
        "[the same]",
        "find every mistake, touch nothing",
    ),
    "plan": (
        "imclass.commands.plan:plan_command",
        "[the same]",
        "what would it do and take? images, schedule, time",
    ),
    "lr-find": (
        "imclass.commands.lr_find:lr_find_command",
        "[the same]",
        "which learning rate? a range test",
    ),
    "sweep": (
        "imclass.commands.sweep:sweep_command",
        "sweep=NAME [sweep.trials=N ...] [...]",
        "search hyperparameters; the same command resumes",
    ),
    "evaluate": (
        "imclass.commands.evaluate:evaluate_command",
        "RUN [--split val] [--tta flip]",
        "all figures of a trained model, and its plots",
    ),
    "predict": (
        "imclass.commands.predict:predict_command",
        "RUN FILE|DIR ... [--sheet OUT.png] [--explain OUT.png]",
        "what is on these pictures?",
    ),
    "report": (
        "imclass.commands.report:report_command",
        "RUN|FOLDER ... [--out FILE.html]",
        "one run, or a comparison of many",
    ),
    "export": (
        "imclass.commands.export:export_command",
        "RUN --format onnx|pt2|torchscript|safetensors",
        "the model with its preprocessing as one file, compared with the run",
    ),
    "verify": (
        "imclass.commands.verify:verify_command",
        "RUN",
        "is everything in a run folder whole?",
    ),
    "selftest": (
        "imclass.commands.selftest.command:selftest_command",
        "[--kills N]",
        "kill, damage and resume runs here; what is lost?",
    ),
    "data": (
        "imclass.commands.data:data_command",
        "inspect|verify FOLDER|FILE.csv|NAME",
        "what is in it, what is damaged, which command to begin with",
    ),
    "list": (
        "imclass.commands.list:list_command",
        "models|datasets|optimizers|...",
        "what there is to choose from",
    ),
    "schema": (
        "imclass.commands.schema:schema_command",
        "[experiment|model|...]",
        "JSON Schemas of the YAML files, for editors",
    ),
    "completion": (
        "imclass.commands.completion:completion_command",
        "bash|zsh|fish",
        "the script by which a shell completes all this at TAB",
    ),
}

HELP = """\
imclass: train image classifiers in PyTorch from YAML.

{commands}

ResNet-18 on bundled Fashion-MNIST images, another network and data set, and
your own pictures in one folder per class:
  imclass train
  imclass train model=vgg11 dataset=cifar10 train.epochs=20 name=mine
  imclass train FOLDER

imclass <command> --help explains each command; that of train, every setting.
"""


def main(argv: Sequence[str]) -> int:
    """Run one command; return the exit code of `errors.py`. A mistake is one line on stderr per problem."""
    return exit_code_of(lambda: _dispatch(argv), debug="debug=true" in argv)


def script() -> NoReturn:
    """The program `imclass`, from the arguments of its process to its exit."""
    begin_process()
    answer_signals()
    end_process(main(sys.argv[1:]))


def _dispatch(argv: Sequence[str]) -> None:
    command = argv[0] if argv else "--help"
    if command in ("--help", "-h", "help"):
        print(_help(), end="")
    elif command == "--version":
        from imclass import __version__

        print(f"imclass {__version__}")
    elif command == "completion":
        from imclass.commands.completion import completion_command

        completion_command(argv[1:], COMMANDS)
    elif command in COMMANDS:
        module, function = COMMANDS[command][0].split(":")
        getattr(importlib.import_module(module), function)(argv[1:])
    else:
        setting = "=" in command
        near = f"; did you mean 'imclass train {command}'?" if setting else did_you_mean(command, COMMANDS)
        raise UserError(f"{command}: no such command; expected one of {', '.join(COMMANDS)}{near}")


def _help() -> str:
    rows = [f"  imclass {name} {arguments}\n      {line}" for name, (_, arguments, line) in COMMANDS.items()]
    return HELP.format(commands="\n".join(rows))
