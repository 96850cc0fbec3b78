"""imclass against what people would use instead: the same model, images, batch and epochs.

    python scripts/bench/peers.py --root FOLDER [--images 3000] [--epochs 2] [--stem cifar] [--rounds 5]
        [--output FILE]

Peers (scripts/bench/peers/): a plain PyTorch script as tutorials write it, the same script tuned, Lightning
as its documentation writes it, and ultralytics' classification trainer, in an environment of their own
(.venv-peers), made on the first call. FOLDER: an image folder of 32x32 images with train/ and test/, such as
CIFAR-10's, of which the first images of each class are taken. Each round runs each whole command once; none
draws plots. The peers evaluate each epoch; imclass after the last, and at the end the best model.
Written: the figures and versions as JSON, and a picture of the seconds beside them.

  seconds     of the whole command, from its start to its end
  first step  seconds from its start to the end of its first training step
  memory      peak of its processes together, MiB, each page divided among those who share it; sampled every
              2 s, so that shorter peaks are missed
  times as long: its seconds over those of imclass in the same round, median of all rounds
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
PEERS = {
    "plain PyTorch": ["plain.py"],
    "tuned PyTorch": ["plain.py", "--tuned"],
    "Lightning": ["with_lightning.py"],
    "ultralytics": ["with_ultralytics.py"],
}
PACKAGES = "torch", "torchvision", "lightning", "ultralytics"
GOALS = {"plain PyTorch": 2.5, "tuned PyTorch": 1.08, "Lightning": 2.5, "ultralytics": 2.5}


@dataclass(frozen=True)
class Result:
    seconds: float
    first_step: float
    memory: float  # MiB
    accuracy: float  # of the test images


def subset(root: Path, images: int, to: Path) -> Path:
    """Copy the first `images` of train/ and a third as many of test/, evenly over the classes."""
    for split, count in (("train", images), ("test", images // 3)):
        classes = sorted(path for path in (root / split).iterdir() if path.is_dir())
        for folder in classes:
            (to / split / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[: count // len(classes)]:
                shutil.copy(file, to / split / folder.name)
    return to


def environment() -> Path:
    """Return the Python of the peers' environment."""
    folder = HERE.parents[1] / ".venv-peers"
    python = folder / "bin/python"
    if not python.exists():
        print("installing Lightning and ultralytics into .venv-peers", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def versions(python: Path) -> dict[str, str]:
    """Return the versions of those of `PACKAGES` that a Python has."""
    command = [python, "-m", "pip", "list", "--format=json"]
    packages = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    installed = {package["name"]: package["version"] for package in packages}
    return {name: installed[name] for name in PACKAGES if name in installed}


def measure(command: list[str | Path], first: str) -> tuple[float, float, float, str]:
    """Return seconds, seconds to the line that contains `first`, MiB at the peak, and what was printed."""
    start, at, peak = time.perf_counter(), 0.0, 0.0
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1"}, **pipe) as process:
        lines: list[str] = []

        def read() -> None:
            nonlocal at
            assert process.stdout
            for line in process.stdout:
                if not at and first in line:
                    at = time.perf_counter() - start
                lines.append(line)

        reader = threading.Thread(target=read)
        reader.start()
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)  # s; to be asked more often would slow it down
        reader.join()
        seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}:\n{''.join(lines)}")
    return seconds, at, peak, "".join(lines)


def memory_of(pid: int) -> float:
    """Return the proportional set size of a process and its descendants in MiB."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it ended
        return 0.0
    own = next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return own / 1024 + sum(memory_of(int(child)) for child in children)


def ours(data: Path, stem: str, *length: str) -> Result:
    """Measure our training, with settings for its length."""
    settings = ["dataset=image_folder", f"dataset.root={data}", "dataset.val_split=test"]
    settings += ["model=resnet18", f"model.stem={stem}", "augment=crop_flip", "optimizer.lr=0.05"]
    return measure_ours([*settings, "train.batch_size=128", *length])


def measure_ours(settings: list[str]) -> Result:
    """Measure `imclass train` with these settings."""
    with tempfile.TemporaryDirectory() as folder:
        own = ["logger.plots=false", f"output_dir={folder}", "name=run"]
        command = [sys.executable, "-m", "imclass", "train", *settings, *own]
        seconds, first, memory, _ = measure(command, ", step 1 of ")
        summary = json.loads(Path(folder, "run/summary.json").read_text())
    return Result(seconds, first, memory, summary["test"]["accuracy"])


def theirs(name: str, python: Path, data: Path, epochs: int, stem: str) -> Result:
    script, *flags = PEERS[name]
    command = [python, HERE / "peers" / script, data, f"--epochs={epochs}", f"--stem={stem}", *flags]
    with tempfile.TemporaryDirectory() as folder:
        command = ["env", "-C", folder, *command]  # they write into the current folder
        seconds, first, memory, printed = measure(command, "first step")
    accuracies = [line.split()[1] for line in printed.splitlines() if line.startswith("accuracy ")]
    return Result(seconds, first, memory, float(accuracies[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--stem", choices=["cifar", "imagenet"], default="cifar")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("peers.json"))
    options = parser.parse_args()
    python = environment()
    length = f"train.epochs={options.epochs}", f"train.eval_every={options.epochs}ep"
    installed = {"ours": versions(Path(sys.executable)), "theirs": versions(python)}
    results: dict[str, list[Result]] = {name: [] for name in ("imclass", *PEERS)}
    with tempfile.TemporaryDirectory() as folder:
        data = subset(options.root, options.images, Path(folder, "images"))
        for _ in range(options.rounds):
            for name, found in results.items():
                found.append(
                    ours(data, options.stem, *length)
                    if name == "imclass"
                    else theirs(name, python, data, options.epochs, options.stem)
                )
                print(f"{name:14} {found[-1]}", flush=True)
            rows = {name: [asdict(one) for one in found] for name, found in results.items()}
            options.output.write_text(json.dumps({"versions": installed, **rows}, indent=1))
    show(results)
    draw(results, options.output.with_suffix(".png"))


def show(results: dict[str, list[Result]]) -> None:
    """Print medians and spreads, and the ratios of seconds round by round."""
    print(f"{'':14} {'seconds':>22} {'first step':>10} {'memory':>7} {'accuracy':>8}  times as long")
    for name, found in results.items():
        seconds = spread([one.seconds for one in found], ".1f")
        first, memory, accuracy = (
            statistics.median(getattr(one, key) for one in found)
            for key in ("first_step", "memory", "accuracy")
        )
        line = f"{name:14} {seconds:>22} {first:10.1f} {memory:7.0f} {accuracy:8.1%}"
        if name in GOALS:
            ratios = [peer.seconds / own.seconds for peer, own in zip(found, results["imclass"], strict=True)]
            line += f"  {spread(ratios, '.2f')}, goal {GOALS[name]}"
        print(line)


def draw(results: dict[str, list[Result]], file: Path) -> None:
    """Draw the median seconds of each as a bar, from the least to the most as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for name, found in results.items():
        seconds = [one.seconds for one in found]
        middle = statistics.median(seconds)
        axes.barh(name, middle, color="tab:blue" if name == "imclass" else "lightgray")
        axes.plot([min(seconds), max(seconds)], [name, name], color="black", linewidth=1)
        axes.annotate(
            f"{middle:.0f} s", (max(seconds), name), (4, 0), textcoords="offset points", va="center"
        )
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("seconds for the same training, whole command")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file)


def spread(values: list[float], form: str) -> str:
    """Return 'median (minimum to maximum)'."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
