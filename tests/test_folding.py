"""Long lines on a terminal: no word is broken, and commands can be copied."""

import io
import shlex
import subprocess

import pytest

from imclass.folding import folded, in_columns, padded

PATH = "outputs/2026-11-28_23-55-33_resnet18_fashion_mnist"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("", [""]),
        ("x" * 100, ["x" * 100]),
        (
            f"model    {'words ' * 20}end",
            ["model    " + " ".join(["words"] * 12), "         " + " ".join([*["words"] * 8, "end"])],
        ),
        (
            f"time     {'words ' * 11}0.25 s, (3 steps)",
            ["time     " + " ".join(["words"] * 11), "         0.25 s, (3 steps)"],
        ),
        (
            "            train/ring/001.png = train/ring/002.png = train/square/003.png = 1 more",
            [
                "            train/ring/001.png = train/ring/002.png = train/square/003.png",
                " " * 12 + "= 1 more",
            ],
        ),
        (f"         {'words ' * 13}", ["         " + " ".join(["words"] * 12), "         words"]),
        (
            f"  look at the result        {PATH}/report.html",
            ["  look at the result", f"    {PATH}/report.html"],
        ),
        (
            f"imclass: stopped at step 12; resume: imclass train resume={PATH[3:]}; or begin anew",
            [
                "imclass: stopped at step 12; resume:",
                f"         imclass train resume={PATH[3:]};",
                "         or begin anew",
            ],
        ),
        (
            f"  use the model             imclass predict {PATH} FILE ...",
            ["  use the model", f"    imclass predict {PATH} FILE ..."],
        ),
        (
            f"  train it longer           imclass train resume={PATH} train.epochs=6",
            ["  train it longer", f"    imclass train resume={PATH} \\", "      train.epochs=6"],
        ),
    ],
)
def test_lines_break_between_words(text: str, lines: list[str]) -> None:
    assert folded(text, Terminal()).split("\n") == lines
    assert folded(text, io.StringIO()) == text  # a file, a pipe


def test_a_shell_reads_a_folded_command_as_one() -> None:
    text = f"now: imclass train resume={PATH} train.epochs=6 optimizer.lr=0.123456789 seed=3 name=another"
    lines = folded(text, Terminal()).split("\n")
    assert len(lines) == 3 and max(map(len, lines)) <= 80
    command = "\n".join(lines[1:]).replace("imclass", "printf '%s\\n'")
    words = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.split()
    assert words == shlex.split(text.removeprefix("now: imclass"))


def test_rows_of_a_table_break_before_the_same_columns() -> None:
    path, widths = "a" * 76, (76, 8, 3)
    rows = [("file", "state", "lr"), (path, "ok", "0.1"), ("b", "diverged", ""), ("c", "", "")]
    assert [in_columns(row, widths, Terminal()) for row in rows] == [
        "file\n    state     lr",
        f"{path}\n    ok        0.1",
        "b\n    diverged",
        "c",
    ]
    assert in_columns(rows[1], widths, io.StringIO()) == f"{path}  ok        0.1"


@pytest.mark.parametrize(
    ("name", "columns"),
    [("cat", 3), ("猫", 2), ("ﾈｺ", 2), ("고양이", 6), ("chätön", 6), ("e\u0301", 1), ("\u1100\u1169", 2)],
)
def test_names_in_any_script_keep_the_columns_aligned(name: str, columns: int) -> None:
    assert padded(name, 8) == name + (8 - columns) * " "
    assert padded(name, 1) == name
    assert in_columns([name, "12"], [6, 2], Terminal()) == name + (8 - columns) * " " + "12"
