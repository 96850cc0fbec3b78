"""The help of train, check and sweep: made from the schema, readable at 80 columns, without torch."""

import re
import subprocess
import sys

import pytest

from imclass.config.groups import group_choices
from imclass.config.help import sweep_help, train_help
from imclass.config.schema import SETTINGS, SWEEP_SETTINGS


def settings_of(text: str) -> dict[str, str]:
    """Return {"key=default": what the help says of it}."""
    _, text = text.split("\nSettings", 1)
    rows = re.findall(r"^  (\S+=\S+)((?:.*\n?)(?:^   .*\n?)*)", text, re.MULTILINE)
    return {typed: " ".join(words.split()) for typed, words in rows}


def test_train_help_names_every_setting_and_every_choice() -> None:
    text = train_help()
    assert [typed.split("=")[0] for typed in settings_of(text)] == list(SETTINGS)
    for group in ("model", "dataset", "augment", "optimizer", "scheduler", "device", "experiment"):
        (part,) = re.findall(rf"^{group}\n((?:^[* ].*\n)+)", text.split("\nSettings")[0], re.MULTILINE)
        assert re.findall(r"^[* ] (\S+)  ", part, re.MULTILINE) == group_choices(group)


def test_sweep_help_names_every_setting_and_every_sweep() -> None:
    text = sweep_help()
    assert [typed.split("=")[0] for typed in settings_of(text)] == list(SWEEP_SETTINGS)
    for name in group_choices("sweep"):
        assert f"\n  {name} " in text


@pytest.mark.parametrize("text", [*map(train_help, ("train", "check", "plan", "lr-find")), sweep_help()])
def test_help_fits_80_columns(text: str) -> None:
    assert [line for line in text.splitlines() if len(line) > 80 or line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("train.label_smoothing=0", "(0 to below 1)"),
        ("train.class_weights=null", "(auto, inverse, or a list of numbers above 0, one per class)"),
        ("optimizer.lr=0.03", "(above 0)"),  # of the default optimizer, not of the schema
        ("optimizer.momentum=0.9", "only sgd, rmsprop, muon)"),
        ("train.eval_every=1ep", "(duration in ep, st)"),
        ("train.max_time=null", "(duration in s, min, h)"),
        ("device.compile=auto", "(true | false | cuda_graphs | auto)"),
        ("checkpoint.metric=accuracy", "(accuracy | loss | balanced_accuracy | macro_f1)"),
        ("device.threads=auto", "(1 or more, or auto)"),
        ("augment.magnitude=9", "(0 to 30; with augment.randaugment)"),
        (
            "dataset.val_split=0.1",
            "(a fraction between 0 and 1, a count, test, or a list of file patterns; without dataset.folds)",
        ),
    ],
)
def test_help_says_default_range_and_where_a_setting_applies(typed: str, expected: str) -> None:
    assert settings_of(train_help())[typed].endswith(expected)


@pytest.mark.parametrize("command", ["train", "check", "plan", "lr-find", "sweep"])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_the_commands_print_it_and_touch_nothing(imclass, tmp_path, command: str, flag: str) -> None:
    code, out, err = imclass(command, "optimizer=adam", flag)
    assert (code, err) == (0, "")
    assert out.startswith(f"imclass {command} ")
    assert list(tmp_path.iterdir()) == []


def test_help_needs_neither_torch_nor_hydra() -> None:
    code = "import sys; from imclass.cli import main; main(['train', '--help'])"
    code += "; print({'torch', 'numpy', 'hydra'} & set(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
