"""imclass in Python: what a notebook types, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUICK, merged
from pictures import save

import imclass as package
import imclass.train
from imclass.config.invocation import Invocation
from imclass.errors import UserError

# Each text is a cell; `settings` is there.
NOTEBOOK = [
    "import sys, imclass; assert not {'torch', 'numpy', 'hydra'} & sys.modules.keys(); imclass.__version__",
    "run = imclass.train(settings)",
    "assert run.summary['status'] == 'finished' and run.path.name == 'note'",
    "again = imclass.train(settings); assert again == run",  # finished already
    "classes, probabilities = imclass.load('note').predict(['a.png', 'b.png'])",
    "assert probabilities.shape == (2, 4) and abs(probabilities.sum(1) - 1).max() < 1e-5",
    "one = run.model.predict('a.png'); assert one.classes == classes[:1]",
    "assert (one.probabilities[0] == probabilities[0]).all()",
    "from PIL import Image; image = Image.open('a.png')",
    "mixed = run.model.predict(['a.png', image, image, 'a.png', 'b.png']).probabilities",
    "assert abs(mixed - probabilities[[0, 0, 0, 0, 1]]).max() < 1e-6",
    "assert (run.model.predict(Image.open('a.png')).probabilities == one.probabilities).all()",
    "assert [run.model.classes[i] for i in probabilities.argmax(1)] == classes",
    "import json; print(json.dumps([classes, probabilities.max(1).tolist(), repr(run.model)]))",
    """
for call in (
    lambda: imclass.train(['model=resnet19']),
    lambda: imclass.train([*settings, 'seed=1']),
    lambda: imclass.train('model=lenet'),
    lambda: imclass.train(['-m', 'seed=0,1']),
    lambda: imclass.load('nowhere'),
    lambda: run.model.predict(['c.png']),
    lambda: run.model.predict(Image.new('F', (16, 16))),
    lambda: run.model.predict(['a.png', probabilities]),
    lambda: run.model.predict(3),
):
    try:
        call()
    except imclass.UserError as error:
        print(str(error).splitlines()[0])
""",
    "import imclass.train; assert imclass.train.train_command and imclass.train(settings) == run",
]


def test_a_notebook_trains_loads_and_predicts(imclass, tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / f"{name}.png", (16, 16), "L")
    settings = [*merged(QUICK, ["train.epochs=1"]), "name=note", "logger.quiet=true"]
    code = "import json, sys\nnamespace = {'settings': json.loads(sys.argv[1])}\n"
    code += "for cell in json.loads(sys.argv[2]):\n    exec(cell, namespace)"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(settings), json.dumps(NOTEBOOK)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    classes, probabilities, shown = json.loads(next(line for line in lines if line.startswith("[")))
    said = imclass("predict", "note", "a.png", "b.png", "--format", "json").out.splitlines()
    rows = list(map(json.loads, said))
    assert [(r["class"], r["probability"]) for r in rows] == list(zip(classes, probabilities, strict=True))
    assert shown == "<Model lenet of outputs/note, 4 classes>"
    start = next(number for number, line in enumerate(lines) if line.startswith("[")) + 1
    for line, expected in zip(
        lines[start : start + 9],
        [
            "model=resnet19: no such model",
            "outputs/note: has other settings (seed: 0 -> 1)",
            "model=lenet: expected a list of settings such as",
            "['-m', 'seed=0,1']: expected a list of settings such as",
            "nowhere: no run folder here or in outputs/",
            "c.png: No such file or directory",
            "<PIL.Image.Image image mode=F size=16x16 at ",
            "ndarray: expected paths or images of Pillow; of arrays, PIL.Image.fromarray makes them",
            "int: expected paths or images of Pillow",
        ],
        strict=True,
    ):
        assert line.startswith(expected)


def test_names_are_listed_and_others_are_errors() -> None:
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        package.fit  # noqa: B018


def test_a_path_is_a_folder_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(task: object, invocation: Invocation) -> None:
        raise UserError(" ".join(invocation.words))

    monkeypatch.setattr("imclass.config.app.run_app", stop)
    with pytest.raises(UserError, match=f"^{tmp_path} seed=1$"):
        imclass.train([tmp_path, "seed=1"])
