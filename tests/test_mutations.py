"""F1: settings that someone got wrong in every way. Each is accepted or refused; nothing else happens."""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from imclass.config.check import check_config
from imclass.config.compose import check_overrides, compose_config
from imclass.config.overrides import override_problem
from imclass.config.schema import SETTINGS, Config
from imclass.config.stored import read_settings
from imclass.config.user_files import checked_copy
from imclass.errors import UserError

pytestmark = pytest.mark.fault("F1")

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = [file for file in sorted(CONFIGS.glob("*/*.yaml")) if file.parent.name != "hydra"]
TOKENS = [
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "!!python/name:os.system ",
    "${",
    "}",
    '"',
    "'",
    "\t",
    "\0",
]
TOKENS += [
    "hydra: ",
    "_target_: ",
    "???",
    "<<: ",
    "null",
    "~",
    "9" * 400,
    "1e999",
    ".nan",
    "0x",
    "---\n",
    "...\n",
]
TOKENS += [
    "# @package hydra\n",
    "%YAML 1.1\n",
    "\r",
    "\u2028",
    "\ufeff",
    "\x1b[31m",
    "true",
    "? ",
    "| ",
    "> ",
    "\n",
]
TOKENS += [
    "defaults: [override /hydra/launcher: x]\n",
    "${oc.env:HOME}",
    "train: 5\n",
    "@",
    "`",
    ",",
    "1:2:3",
    "é",
]


def mutated(text: str, chance: random.Random) -> str:
    """Return `text` with one to four edits of characters, tokens or lines."""
    for _ in range(chance.randint(1, 4)):
        lines = text.splitlines(keepends=True) or [""]
        at, line = chance.randrange(len(text) + 1), chance.randrange(len(lines))
        edit = chance.randrange(8)
        if edit < 3:
            text = text[:at] + chance.choice(TOKENS) + text[at:]
        elif edit == 3:
            text = (
                text[:at]
                + chr(chance.choice([chance.randrange(1, 128), chance.randrange(0xD800)]))
                + text[at + 1 :]
            )
        elif edit == 4:
            text = text[:at] + text[at + chance.randint(1, 20) :]
        elif edit == 5:
            text = "".join([*lines[:line], chance.choice(lines), *lines[line:]])
        elif edit == 6:
            text = "".join([*lines[:line], " " * chance.randint(0, 6), *lines[line:]])
        else:
            key = lines[line].partition(":")[0]
            text = "".join([*lines[:line], f"{key}: {chance.choice(TOKENS)}\n", *lines[line + 1 :]])
    return text


def refused(read: Callable[[], object]) -> bool:
    """Return whether `read` raises a UserError; then its message is a few lines that a terminal can show."""
    try:
        read()
    except UserError as error:
        assert str(error).strip()
        assert str(error).count("\n") <= 20
        assert len(str(error)) < 10_000
        return True
    return False


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mutate_files(scratch: Path, count: int, composed: int) -> None:
    """Read `count` mutants of the shipped files; those that are sound make experiments, up to `composed`."""
    chance, bad = random.Random(count), 0
    for number in range(count):
        source = chance.choice(FILES)
        file = scratch / "mutant.yaml"
        file.write_bytes(mutated(source.read_text(), chance).encode("utf-8", "surrogatepass"))
        group = source.parent.name
        if refused(lambda file=file, group=group: checked_copy(file, group)):
            bad += 1
        elif group == "experiment" and composed > 0:
            composed -= 1
            refused(lambda: compose_config(["experiment=mutant.yaml"], []))
        assert {path.name for path in scratch.iterdir()} == {"mutant.yaml"}, number
    assert bad > count / 4


def mutate_stored(scratch: Path, count: int) -> None:
    """Read `count` mutants of a run folder's config.yaml."""
    text, chance, bad = OmegaConf.to_yaml(dataclasses.asdict(Config())), random.Random(count), 0
    for number in range(count):
        (scratch / "config.yaml").write_bytes(mutated(text, chance).encode("utf-8", "surrogatepass"))
        bad += refused(lambda: check_config(read_settings(scratch), typed=()))
        assert {path.name for path in scratch.iterdir()} == {"config.yaml"}, number
    assert bad > count / 4


def test_mutated_files_are_read_or_refused(scratch: Path) -> None:
    mutate_files(scratch, 150, composed=10)
    mutate_stored(scratch=fresh(scratch), count=100)


@pytest.mark.soak
def test_10000_mutated_files_are_read_or_refused(scratch: Path) -> None:
    mutate_files(scratch, 7_000, composed=200)
    mutate_stored(scratch=fresh(scratch), count=3_000)


def fresh(scratch: Path) -> Path:
    folder = scratch / "run"
    folder.mkdir()
    return folder


VALUES = [
    "x",
    "-1",
    "1.5",
    "1e999",
    "nan",
    "true",
    "null",
    "[x]",
    "{a: 1}",
    "'\x1b[31m'",
    "''",
    "10",
    "3ep",
    "0x1g",
    "9" * 400,
]


def test_every_setting_with_every_kind_of_value_is_answered_in_a_line() -> None:
    """More than 200 of these are wrong."""
    wrong = 0
    for key in SETTINGS:
        for value in VALUES:
            problem = override_problem(f"{key}={value}", ())
            if problem is not None:
                wrong += 1
                assert problem.startswith(key)
                assert problem.isprintable() and len(problem) < 600
    assert wrong > 200


def test_odd_overrides_are_refused_in_a_line() -> None:
    odd = [
        "=",
        "==",
        "a",
        "=1",
        "a=b=c",
        "+",
        "~",
        "++x=1",
        "seed",
        "seed==1",
        "seed:1",
        "@=1",
        "a@b=1",
    ]
    odd += [
        "model@x=lenet",
        "model=lenet+",
        "seed=(1",
        "seed=[1",
        "seed={1",
        "seed='1",
        'seed="1',
    ]
    odd += [
        "seed=choice()",
        "seed=range(0)",
        "seed=range(9,0)",
        "seed=interval(1)",
        "seed=int(x)",
        "seed=glob(*)",
    ]
    odd += [
        "hydra=x",
        "hydra.x=1",
        "hydra/x=1",
        "_target_=x",
        "train._target_=x",
        "train=x",
        "optimizer.lr.x=1",
    ]
    odd += [
        "${x}=1",
        "seed=${",
        "seed=\\",
        "a\nb=1",
        "\x1b=1",
        "é=1",
        "seed=\u2028",
        "SEED=1",
        "seed =1",
        "sweep.x=1",
    ]
    accepted = []
    for text in odd:
        problem = override_problem(text, ())
        if problem is None:
            accepted.append(text)
        else:
            assert problem.strip() and "Traceback" not in problem
    assert accepted == [], accepted


def test_all_of_them_at_once_are_cut_to_what_one_can_read() -> None:
    with pytest.raises(UserError, match="and 65 more problems") as caught:
        check_overrides([f"no_such_{number}=1" for number in range(85)], [])
    assert str(caught.value).count("\n") == 20
