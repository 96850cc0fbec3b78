"""Files that do not come with imclass set settings, and nothing else: no file runs code or writes one."""

import os
from pathlib import Path

import pytest

from imclass.config.yaml_file import parse_yaml, read_yaml
from imclass.errors import UserError

HEADER = "# @package _global_\n"
SPAWN = "{_target_: setuptools._distutils.spawn.spawn, cmd: [touch, canary]}"
LOG_FILE = "{handlers: {x: {class: logging.FileHandler, filename: canary}}, root: {handlers: [x]}}"

# The content of a file -> what the one line names.
FORBIDDEN = {
    f"hydra: {{callbacks: {{x: {SPAWN}}}}}": "hydra: a file cannot set Hydra's own settings",
    f"hydra: {{job_logging: {LOG_FILE}}}": "hydra: a file cannot set",
    "hydra: {run: {dir: canary}, output_subdir: canary}": "hydra: a file cannot set",
    f"train: {{ema: {SPAWN}}}": "train.ema._target_: no setting begins with _",
    "model: {blocks: [{_partial_: true}]}": "model.blocks._partial_: no setting",
    f"_target_: {SPAWN}": "_target_: no setting begins with _",
    "defaults: [override /hydra/job_logging: evil]": "job_logging: evil: expected one of the groups",
    "defaults: [/hydra/callbacks: evil]": "defaults: /hydra/callbacks: evil",
    "defaults: [/model@hydra.callbacks: evil]": "defaults: /model@hydra.callbacks: evil",
    "defaults: [/hydra/job_logging/evil]": "defaults: /hydra/job_logging/evil: expected the name of a choice",
    "defaults: [override /model: ../hydra/evil]": "override /model: ../hydra/evil: expected the name",
    "defaults: [override /model: '${oc.env:HOME}']": "expected the name of a choice",
    "name: '${oc.env:HOME}'": "name=${oc.env:HOME}: in a file, ${...} can only name a setting",
    "train: {epochs: '${oc.decode:${oc.env:HOME}}'}": "train.epochs=",
    "seed: !!python/object/apply:os.system [touch canary]": "the tag tag:yaml.org,2002:python/object",
    "augment: &a {crop: 1}\ntrain: *a": "an anchor or alias in line 2",
    "seed: " + "[" * 5000: "nest",  # ours, or that of a newer libyaml, which has a limit of its own
    "seed: " + "[" * 30 + "]" * 30: "nested deeper than 20 levels",
    "# " + "x" * 1_000_000: "larger than 1 MB",
    "seed: [1": "cannot be read as YAML settings",
    "- 1": "expected settings",
}


@pytest.fixture(params=FORBIDDEN.items(), ids=lambda item: item[0][:40])
def forbidden(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


def assert_refused(outcome, folder: Path, *expected: str) -> None:
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome.err + outcome.out
    for text in expected:
        assert text in outcome.err
    assert not [path for path in folder.rglob("*") if "canary" in path.name or path.name == "outputs"]


@pytest.mark.fault("S4", "S9")
def test_an_experiment_file_runs_no_code(imclass, tmp_path: Path, forbidden: tuple[str, str]) -> None:
    content, expected = forbidden
    (tmp_path / "evil.yaml").write_text(HEADER + content)
    assert_refused(imclass("check", "experiment=evil.yaml"), tmp_path, "evil.yaml: ", expected)


@pytest.mark.fault("S4", "S9")
@pytest.mark.parametrize("group", ["experiment", "model", "sweep"])
def test_a_file_below_config_dir_runs_no_code(
    imclass, tmp_path: Path, forbidden: tuple[str, str], group: str
) -> None:
    content, expected = forbidden
    (tmp_path / "mine" / group).mkdir(parents=True)
    (tmp_path / "mine" / group / "evil.yaml").write_text(HEADER + content)
    outcome = imclass("check", "--config-dir=mine", f"{group}=evil")
    assert_refused(outcome, tmp_path, f"mine/{group}/evil.yaml: ", expected)


@pytest.mark.fault("S4", "S9")
@pytest.mark.parametrize(
    "command",
    [
        ["train", "experiment=evil.yaml"],
        ["train", "-m", "seed=0,1", "experiment=evil.yaml"],
        ["train", "--cfg", "job", "experiment=evil.yaml"],
        ["sweep", "sweep=quick", "experiment=evil.yaml"],
        ["check", "sweep=quick", "experiment=evil.yaml"],
        ["check", "resume=outputs/x", "experiment=evil.yaml"],
        ["check", "-m", "hydra/launcher=basic", "experiment=evil.yaml,cifar10_resnet18"],
    ],
    ids=" ".join,
)
def test_no_command_reads_such_a_file(imclass, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "evil.yaml").write_text(f"{HEADER}hydra: {{callbacks: {{x: {SPAWN}}}}}\n")
    assert_refused(imclass(*command), tmp_path, "evil.yaml: hydra: ")


@pytest.mark.parametrize(
    "header", ["# @package hydra.callbacks", "#@package hydra.job_logging", "# @package _global_.hydra"]
)
def test_a_file_cannot_name_another_package(imclass, tmp_path: Path, header: str) -> None:
    (tmp_path / "mine/model").mkdir(parents=True)
    (tmp_path / "mine/model/evil.yaml").write_text(f"{header}\nx: {SPAWN.replace('_target_', 'target')}\n")
    outcome = imclass("check", "--config-dir", "mine", "model=evil")
    assert_refused(outcome, tmp_path, f"@package {header.split()[-1]}: expected _global_")


SPAWN_BY_LOGGING = "{(): setuptools._distutils.spawn.spawn, cmd: [touch, canary]}"
EVIL = f"callbacks: {{x: {SPAWN}}}\nhandlers: {{h: {SPAWN_BY_LOGGING}}}\n"


@pytest.mark.parametrize("package", ["hydra", "hydra.hydra_logging", "hydra.job.env_set"])
@pytest.mark.parametrize("more", [[], ["-m", "seed=0,1"]])
def test_hydra_sees_no_package_that_we_do_not(imclass, tmp_path: Path, package: str, more: list[str]) -> None:
    """Hydra reads the first 512 characters of a file for its package."""
    text = f"# @package {package}\n" + 600 * "\n" + "# @package _global_\nhandlers: {h: {x: 1}}\n"
    (tmp_path / "evil.yaml").write_text(text)
    assert_refused(
        imclass("check", "experiment=evil.yaml", *more), tmp_path, "evil.yaml: # @package _global_: a second"
    )


@pytest.mark.parametrize("more", [[], ["-m", "seed=0,1"]])
def test_other_files_below_config_dir_are_not_read(imclass, tmp_path: Path, more: list[str]) -> None:
    for file in ("schema.yaml", "train.yaml", "config.yaml", "experiment/model/x.yaml"):
        path = tmp_path / "own" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# @package hydra.hydra_logging\n{EVIL}")
    outcome = imclass("check", "--config-dir=own", *more)
    assert outcome.code == 0, outcome.err
    (tmp_path / "own/experiment/e.yaml").write_text(f"{HEADER}defaults: [{{model: x}}]\n")
    outcome = imclass("check", "--config-dir=own", "experiment=e", *more)
    assert_refused(
        outcome, tmp_path, "own/experiment/e.yaml: defaults: model: x: expected one of the groups /augment"
    )


def test_files_in_a_list_are_read_as_well(imclass, tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text(f"{HEADER}hydra: {{callbacks: {{x: {SPAWN}}}}}\n")
    assert_refused(
        imclass("check", "experiment=[evil.yaml]"), tmp_path, "evil.yaml: hydra: a file cannot set"
    )
    (tmp_path / "good.yaml").write_text(f"{HEADER}seed: 7\n")
    assert "seed: 7\n" in imclass("train", "experiment=[good.yaml]", "--cfg", "job").out


def test_a_copy_for_hydra_says_the_same(imclass, tmp_path: Path) -> None:
    lines = ['name: "1e-3"', "seed: 7", "optimizer: {lr: 1e-3}", "train:", "  epochs: ${seed}"]
    text = "\n".join([*lines, "defaults: [override /model: lenet]", ""])
    (tmp_path / "e.yaml").write_text(HEADER + text)
    shown = imclass("train", "experiment=e.yaml", "--cfg", "job", "--resolve").out
    for line in ("name: '1e-3'\n", "seed: 7\n", "lr: 0.001\n", "epochs: 7\n", "name: lenet\n"):
        assert line in shown


def test_a_config_dir_cannot_replace_hydras_groups(imclass, tmp_path: Path) -> None:
    (tmp_path / "mine/hydra/job_logging").mkdir(parents=True)
    (tmp_path / "mine/hydra/job_logging/none.yaml").write_text(LOG_FILE)
    assert_refused(imclass("check", "--config-dir=mine"), tmp_path, "mine/hydra: Hydra's own groups")


@pytest.mark.fault("S4", "S9")
@pytest.mark.parametrize(
    "typed",
    [
        "hydra.run.dir=../canary",
        "hydra.run.dir=canary",
        "hydra.output_subdir=canary",
        "hydra.sweep.dir=canary",
        "hydra.searchpath=[file://canary]",
        "hydra/job_logging=default",
        "hydra/launcher=../canary",
        "hydra/launcher@hydra.callbacks=basic",
        "hydra.launcher._target_=os.system",
        "~hydra/launcher",
        f"+hydra.callbacks.x={SPAWN}",
        "model@hydra.callbacks=lenet",
    ],
)
@pytest.mark.parametrize("mode", [(), ("-m",)])
def test_what_is_typed_sets_only_the_launcher(
    imclass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, mode: tuple[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    outcome = imclass("check", *mode, typed)
    assert_refused(outcome, tmp_path, typed.lstrip("+~").split("=")[0].split("@")[0])


def test_what_files_may_do(imclass, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(
        f"{HEADER}# with a comment\ndefaults:\n  - override /model: lenet\n  - _self_\n"
        "dataset: {val_split: 0.2}\ntrain: {epochs: '${seed}'}\nseed: 3\n"
    )
    outcome = imclass("check", "experiment=good.yaml")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("ok: lenet on ")


def test_a_choice_that_sets_other_sections_without_its_first_line_says_which(imclass, tmp_path: Path) -> None:
    (tmp_path / "mine/model").mkdir(parents=True)
    (tmp_path / "mine/model/m.yaml").write_text("name: lenet\noptimizer: {lr: 0.5}\n")
    outcome = imclass("check", "--config-dir=mine", "model=m")
    expected = (
        "mine/model/m.yaml: sets the section optimizer; expected as the first line of a choice that does: "
    )
    assert_refused(outcome, tmp_path, expected + "# @package _global_")


def test_an_experiment_without_its_first_line_says_which(imclass, tmp_path: Path) -> None:
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/e.yaml").write_text("optimizer: {lr: 0.5}\n")
    outcome = imclass("check", "--config-dir=mine", "experiment=e")
    assert_refused(
        outcome,
        tmp_path,
        "mine/experiment/e.yaml: expected as the first line of an experiment: # @package",
    )


def test_only_text_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.yaml").mkdir()
    for name, expected in (
        ("fifo", "not a regular file"),
        ("binary", "not a text file"),
        ("folder", "not a regular file"),
        ("missing", "No such file"),
    ):
        with pytest.raises(UserError, match=expected) as caught:
            read_yaml(tmp_path / f"{name}.yaml")
        assert f"{name}.yaml: " in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.fault("S10")
def test_a_bomb_is_refused_before_it_is_built() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    with pytest.raises(UserError, match="checkpoint: config: cannot be read as YAML"):
        parse_yaml("\n".join(["l0: &l0 [x]", *levels]), "checkpoint: config")


def test_a_run_folders_settings_are_read_with_the_same_care(imclass, tmp_path: Path) -> None:
    (tmp_path / "outputs/run").mkdir(parents=True)
    (tmp_path / "outputs/run/config.yaml").write_text("a: &a [1]\nb: *a\n")
    for argv in (["check", "resume=outputs/run"], ["report", "run"]):
        outcome = imclass(*argv)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert "config.yaml: cannot be read as YAML settings (an anchor" in outcome.err


@pytest.mark.parametrize("first", ["# yaml-language-server: $schema=x.json", "# our best", ""])
def test_comments_may_stand_before_the_package(imclass, tmp_path: Path, first: str) -> None:
    text = f"{first}\n# @package _global_\noptimizer: {{lr: 0.02}}\n"
    (tmp_path / "mine.yaml").write_text(text)
    outcome = imclass("check", "experiment=mine.yaml")
    assert (outcome.code, outcome.err) == (0, "")
