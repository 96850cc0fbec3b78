"""Files of settings from strangers, as experiment, below --config-dir, in a run folder: data, or refused.

Each is answered at once, in one line; none runs code, writes a file, or reads what it should not.
"""

import os
import sys
from pathlib import Path

import pytest

from imclass.config.yaml_file import MAX_DEPTH, MAX_ENTRIES, MAX_LENGTH, parse_yaml
from imclass.errors import UserError

pytestmark = pytest.mark.fault("S4", "S9", "S10")

HEADER = b"# @package _global_\n"
SPAWN = b"{_target_: setuptools._distutils.spawn.spawn, cmd: [touch, canary]}"
CALLBACK = b"hydra: {callbacks: {x: " + SPAWN + b"}}\n"
FORBIDDEN_KEY = "no setting begins with _"
OF_HYDRA = "a file cannot set Hydra's own settings"
TAG = "settings need none"
REFERENCE = "${...} can only name a setting"
ANCHOR = "an anchor or alias"
NO_YAML = "cannot be read as YAML settings"
NO_SETTING = "no such setting"

# Content -> what the one line says.
REFUSED = {
    # Code behind a key, however it is written
    CALLBACK: OF_HYDRA,
    b"\xef\xbb\xbf" + HEADER + CALLBACK: OF_HYDRA,  # a byte-order mark
    HEADER.replace(b"\n", b"\r\n") + CALLBACK.replace(b"\n", b"\r\n"): OF_HYDRA,
    HEADER + b"<<: " + CALLBACK.replace(b"hydra", b"{hydra") + b"}": OF_HYDRA,
    HEADER + b"? hydra\n: {callbacks: {x: " + SPAWN + b"}}\n": OF_HYDRA,
    HEADER + b'"\\x68ydra": {callbacks: {x: ' + SPAWN + b"}}\n": OF_HYDRA,
    HEADER + b"hydra.callbacks.x: " + SPAWN: OF_HYDRA,
    HEADER + b"'hydra ': {callbacks: 1}": OF_HYDRA,
    HEADER + b"train: {hydra: {callbacks: 1}}": OF_HYDRA,
    HEADER + b"hydra@x: {callbacks: 1}": OF_HYDRA,
    HEADER + b"hydra/launcher: x": OF_HYDRA,
    HEADER + b"Hydra: {callbacks: 1}": NO_SETTING,
    HEADER + b"model@hydra: lenet": NO_SETTING,
    HEADER + b"__class__: 1": FORBIDDEN_KEY,
    HEADER + b"train: {__init__: 1}": FORBIDDEN_KEY,
    HEADER + b"dataset: {mean: [{_args_: [1]}]}": FORBIDDEN_KEY,
    HEADER + b'model: {"\\x5ftarget_": os.system}': FORBIDDEN_KEY,
    HEADER + b"train: {<<: " + SPAWN + b"}": FORBIDDEN_KEY,
    HEADER + "＿target_: 1".encode(): NO_SETTING,
    HEADER + b"train.epochs: 1": "in YAML, settings stand below their section: train: {epochs: ...}",
    # Packages
    b"# @package _global_\r# @package hydra\nseed: 1": "a second @package",
    "# @package _global_\x85# @package hydra\nseed: 1".encode(): "a second @package",
    "# @package _global_\u2028# @package hydra.callbacks\nseed: 1".encode(): "a second @package",
    b"# @PACKAGE hydra\nseed: 1": "expected # @package _global_",
    b"#\t@package\thydra\nseed: 1": "expected # @package _global_",
    b"# @package _here_\nseed: 1": "@package _here_: expected _global_",
    b"\n\nseed: 1\n# @package hydra": "expected as the first line of an experiment",
    b'"# @package hydra": 1': "expected as the first line of an experiment",
    # Defaults lists
    HEADER + b"defaults: evil": "expected a list such as",
    HEADER + b"defaults: [null]": "expected an entry such as",
    HEADER + b"defaults: [evil]": "defaults: experiment: evil: no such choice",
    HEADER + b"defaults: [override /model: nope]": "defaults: model: nope: no such choice",
    HEADER + b"defaults: [/etc/passwd]": "expected the name of a choice",
    HEADER + b"defaults: [override /model: ../../x]": "expected the name of a choice",
    HEADER + b"defaults: [override /model: '${dataset}']": "expected the name of a choice",
    HEADER + b"defaults: [/model@_global_: lenet]": "expected one of the groups",
    HEADER + b"defaults: [override /hydra/launcher@hydra.callbacks: basic]": "expected one of the groups",
    HEADER + b"train: {defaults: [override /hydra/launcher: x]}": NO_SETTING,
    # Resolvers and references
    HEADER + b"name: '${oc.env:HOME}'": REFERENCE,
    HEADER + b"name: '${ oc.env : HOME }'": REFERENCE,
    HEADER + b"name: '\\${oc.env:HOME}'": REFERENCE,
    HEADER + b"name: '${oc.decode:1}'": REFERENCE,
    HEADER + b"augment: '${oc.create:{crop: 1}}'": REFERENCE,
    HEADER + b"seed: '${oc.select:train.epochs}'": REFERENCE,
    HEADER + b"dataset: {mean: ['${oc.dict.values:train}']}": REFERENCE,
    HEADER + b"name: '${hydra:runtime.cwd}'": REFERENCE,
    HEADER + b"name: '${now:%Y}'": REFERENCE,
    HEADER + b"name: '${${name}}'": REFERENCE,
    HEADER + b"name: '$${a}{oc.env:HOME}'": REFERENCE,
    HEADER + b"train: ${train}": REFERENCE,
    HEADER + b"seed: ${no.such}": REFERENCE,
    HEADER + b"train: {steps: '${.batch_size}'}": REFERENCE,
    HEADER + b"name: '${oc.env'": NO_YAML,
    HEADER + b"seed: ${seed}": "none of which names another",
    HEADER + b"seed: ${train.steps}\ntrain: {steps: '${seed}'}": "none of which names another",
    HEADER + b"name: '" + b"${resume}" * 4 + b"'": "at most 3 settings",
    HEADER + b"".join(b"k%d: ['${k%d}', '${k%d}']\n" % (n, n + 1, n + 1) for n in range(40)): REFERENCE,
    # Tags, anchors, and what only a tag would build
    HEADER + b"seed: !!python/object/new:os.system [touch canary]": TAG,
    HEADER + b"seed: !!python/module:antigravity": TAG,
    HEADER + b"seed: !<tag:yaml.org,2002:python/object/apply:os.system> [touch canary]": TAG,
    b"%TAG ! tag:yaml.org,2002:python/\n---\nseed: !object/apply:os.system [touch canary]": TAG,
    HEADER + b"name: !!binary aGVsbG8=": TAG,
    HEADER + b"train: !!set {epochs}": TAG,
    HEADER + b"? !!python/name:os.system\n: 1": TAG,
    HEADER + b"train: {<<: &a {epochs: 1}}": ANCHOR,
    HEADER + b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]": ANCHOR,
    # Text that is none, documents that are several
    HEADER.decode().encode("utf-16"): "not a text file",
    HEADER + b"name: a\0b": NO_YAML,
    HEADER + b"name: a\x1b]0;owned\x07": NO_YAML,
    HEADER + b'name: "a\\e[31m"': "name='a\\x1b[31m': expected 1 to 100 letters",
    HEADER + b'name: "\\ud800"': NO_YAML,
    HEADER + b"seed: 1\n---\n" + CALLBACK: NO_YAML,
    HEADER + b"seed: 1\n...\n" + CALLBACK: NO_YAML,
    b"%YAML 9.9\n---\nseed: 1": NO_YAML,
    HEADER + b"train:\n\tepochs: 1": NO_YAML,
    HEADER + b"seed: 1\nseed: 2": "found duplicate key seed",
    HEADER + b"? [a, b]\n: 1": NO_YAML,
    HEADER + b"~: 1": NO_YAML,
    HEADER + b"true: 1": NO_SETTING,
    HEADER + b"train: [1]": "expected settings of the section train",
    HEADER + b"train: 5": "expected settings of the section train",
    HEADER + b"seed: 2001-12-14t21:59:43.10-05:00": "expected a whole number",
    HEADER + b"optimizer: {lr: 1e999999}": "optimizer.lr=inf: expected a number above 0",
    HEADER + b"name: ../../x": "name=../../x: expected 1 to 100 letters",
    HEADER + b"model: {weights: /dev/zero}": "model.weights=/dev/zero: no such file",
    HEADER + b"resume: ../../etc": "resume=../../etc",
    # Bombs
    HEADER + b"seed: " + b"9" * 5000: "a key or value of 5,000 characters",
    HEADER + b"seed: 0x" + b"f" * 5000: "a key or value of 5,002 characters",
    HEADER + b"name: " + b"${a}" * 100_000: "a key or value of 400,000 characters",
    HEADER + b"name: '" + b"'" * 400_001: "a key or value of 200,000 characters",
    HEADER + b"name: " + b"1_" * 100_000 + b":x": "a key or value of 200,002 characters",
    HEADER + b"".join(b"k%d: 1\n" % n for n in range(80_000)): "more than 2,000 keys and values",
    HEADER + b"seed: [" + b"[]," * 300_000 + b"]": "more than 2,000 keys and values",
    HEADER + b"defaults: [" + b"_self_," * 10_000 + b"]": "more than 2,000 keys and values",
    HEADER + b"a: " + b"[" * 20_000: NO_YAML,
    HEADER + b"a: " + b"{a: " * 20_000: NO_YAML,
    HEADER + b"? " * 20_000: NO_YAML,
    HEADER + b"a:\n" + b"- " * 20_000 + b"1": NO_YAML,
    HEADER + b"#" * 1_000_000: "larger than 1 MB",
}
# What looks odd and is harmless.
ACCEPTED = [
    b"",
    HEADER,
    b"\xef\xbb\xbf" + HEADER + b"seed: 1",
    HEADER + b"#" * 999_000 + b"\nseed: 1",
    HEADER + b"name: 2001-99-99",
    HEADER + b"seed: 1:59:59",
    HEADER + b"name: s${seed}_${train.batch_size}",
    HEADER + b"train: {<<: {epochs: 1}}",
    HEADER.replace(b"\n", b"\r\n") + b"seed: 1\r\n",
]


def label(value: bytes | str) -> str:
    return value.removeprefix(HEADER)[:30].decode("ascii", "ignore") if isinstance(value, bytes) else ""


def assert_one_line(outcome, folder: Path, *expected: str) -> None:
    assert (outcome.code, outcome.out) == (2, ""), outcome.err[:1000] + outcome.out
    assert outcome.err.startswith("imclass: ") and outcome.err.count("\n") <= 2, outcome.err[:1000]
    assert len(outcome.err) < 1000
    assert all(text in outcome.err for text in expected), outcome.err
    assert outcome.err.rstrip("\n").replace("\n", "").isprintable()
    created = {path.name for path in folder.rglob("*")} - {"evil.yaml", "config.yaml", "mine", "experiment"}
    assert created <= {"outputs", "run"}
    assert not Path("canary").exists()


@pytest.mark.parametrize(("content", "expected"), REFUSED.items(), ids=label)
def test_an_experiment_of_a_stranger_is_refused_in_one_line(
    imclass, tmp_path: Path, content: bytes, expected: str
) -> None:
    (tmp_path / "evil.yaml").write_bytes(content)
    assert_one_line(imclass("check", "experiment=evil.yaml"), tmp_path, expected)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("content", ACCEPTED, ids=label)
def test_what_is_odd_and_harmless_is_accepted(imclass, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.yaml").write_bytes(content)
    outcome = imclass("check", "experiment=odd.yaml")
    assert (outcome.code, outcome.err) == (0, "")


BOMBS = [content for content, text in REFUSED.items() if text in (TAG, ANCHOR, NO_YAML) or b"000" in content]


@pytest.mark.parametrize("content", BOMBS, ids=label)
def test_the_same_in_a_run_folder(imclass, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "outputs/run").mkdir(parents=True)
    (tmp_path / "outputs/run/config.yaml").write_bytes(content)
    for argv in (["check", "resume=outputs/run"], ["check", "name=run"], ["report", "run"]):
        assert_one_line(imclass(*argv), tmp_path, "config.yaml: ")


def test_keys_and_resolvers_in_a_run_folder_stay_text(imclass, run: Path) -> None:
    """A stored configuration is checked against the schema; nothing in it is resolved or looked up."""
    text = (run / "config.yaml").read_text()
    for line, expected in [
        ("_target_: os.system", "_target_: no such setting"),
        ("hydra: {callbacks: {x: 1}}", "hydra: no such setting"),
        ("'train.epochs': 1", "train.epochs: in YAML, settings stand below"),
    ]:
        (run / "config.yaml").write_text(f"{text}{line}\n")
        outcome = imclass("check", f"resume={run}")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert expected in outcome.err
    (run / "config.yaml").write_text(text.replace("seed: 0", "seed: ${oc.env:HOME}"))
    assert "seed=${oc.env:HOME}: expected a whole number" in imclass("check", f"resume={run}").err


@pytest.mark.parametrize("content", BOMBS, ids=label)
def test_the_same_in_a_checkpoint(content: bytes) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    with pytest.raises(UserError, match=r"best\.pt: config: ") as caught:
        parse_yaml(text, "best.pt: config")
    assert "\n" not in str(caught.value)


@pytest.mark.fault("S11")
def test_no_device_link_or_sparse_giant_is_opened(imclass, tmp_path: Path) -> None:
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "gone.yaml").symlink_to("nothing")
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "fifo.yaml")
    with (tmp_path / "giant.yaml").open("wb") as file:
        file.truncate(200_000_000)
    for name, expected in [
        ("zero", "not a regular file"),
        ("loop", "no such file"),
        ("gone", "no such file"),
        ("folder", "not a regular file"),
        ("fifo", "not a regular file"),
        ("giant", "larger than 1 MB"),
    ]:
        outcome = imclass("check", f"experiment={name}.yaml")
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome.err
        assert f"{name}.yaml: " in outcome.err
        assert expected in outcome.err


def test_the_limits_leave_room_for_every_file_of_ours() -> None:
    configs = Path(__file__).parents[1] / "configs"
    for file in configs.rglob("*.yaml"):
        text = file.read_text()
        assert len(text.split()) < MAX_ENTRIES / 2
        assert max(map(len, text.split("\n"))) < MAX_LENGTH / 2
    assert MAX_DEPTH >= 10
