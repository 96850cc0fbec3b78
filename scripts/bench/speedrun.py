"""`experiment=cifar10_speedrun` against the reference of its paper, side by side.

    python scripts/bench/speedrun.py --root FOLDER [--seeds 5] [--output speedrun.json] [overrides]
    python scripts/bench/speedrun.py [...]  # without --root: `experiment=fashion_mnist_speedrun` alone

Reference: the network of arXiv:2404.00498, eight epochs of 50,000 images in batches of 2,000 with Muon, as
published beside it. Its seconds are those of forward, loss, backward and optimizer step on one batch in
memory, in bf16 where the CPU has units for it, with the C library's allocator: no data, augmentation or
evaluation. Ours: `imclass train`, its training and evaluations, then `imclass evaluate --tta flip_shift`.
FOLDER: CIFAR-10 as an image folder. Each seed measures both. PFLOP: three times those of the forward passes
of training, counted by torch, one multiplication and addition as two.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

EPOCHS, IMAGES, BATCH = 8, 50_000, 2_000
STEPS = 6  # of the reference that are timed


def reference_images_per_second() -> float:
    """Return the rate of the reference's training steps, in this process."""
    import torch
    from torch import nn

    from imclass.training.muon import Muon

    def group(channels_in: int, channels_out: int) -> list[nn.Module]:
        convs = (nn.Conv2d(c, channels_out, 3, padding=1, bias=False) for c in (channels_in, channels_out))
        norms = (nn.BatchNorm2d(channels_out, momentum=0.4) for _ in range(2))
        return [next(convs), nn.MaxPool2d(2), next(norms), nn.GELU(), next(convs), next(norms), nn.GELU()]

    torch.manual_seed(0)
    whiten = nn.Conv2d(3, 24, 2)
    whiten.weight.requires_grad_(False)
    layers = [whiten, nn.GELU(), *group(24, 64), *group(64, 256), *group(256, 256), nn.MaxPool2d(3)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10, bias=False))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False)
    model = model.to(memory_format=torch.channels_last)
    filters = [p for p in model.parameters() if p.ndim == 4 and p.requires_grad]
    rest = [p for p in model.parameters() if p.ndim < 4 and p.requires_grad]
    muon = Muon([{"params": filters, "muon": True}], 0.24, 0.6, True, (0.9, 0.95), normalize=True)
    sgd = torch.optim.SGD(rest, lr=0.01, momentum=0.85, nesterov=True, fused=True)
    images = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (BATCH,))
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    start = 0.0
    for step in range(STEPS + 2):
        if step == 2:  # the first two allocate
            start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            loss = nn.functional.cross_entropy(model(images).float() / 9, labels, label_smoothing=0.2)
        model.zero_grad(set_to_none=True)
        loss.backward()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            muon.step()
        sgd.step()
    return STEPS * BATCH / (time.perf_counter() - start)


def petaflop(settings: dict[str, Any], channels: int, side: int, images: int) -> float:
    """Return the PFLOP of training on as many images, forward and backward."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from imclass.models.speednet import SpeedNet

    phases = [text.rstrip("%").split(":") for text in settings["train"]["resolutions"]] + [[str(side), "100"]]
    total, begun = 0.0, 0.0
    for pixels, until in phases:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            SpeedNet(channels, 10).eval()(torch.zeros(1, channels, int(pixels), int(pixels)))
        total += counter.get_total_flops() * 3 * images * (float(until) - begun) / 100
        begun = float(until)
    return total / 1e15


def run_of(root: Path | None, seed: int, overrides: list[str]) -> dict[str, float]:
    """Return seconds and accuracies of one run of the experiment."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        experiment = "cifar10_speedrun" if root else "fashion_mnist_speedrun"
        command = [sys.executable, "-m", "imclass", "train", f"experiment={experiment}"]
        data = ["dataset=image_folder", f"dataset.root={root}"] if root else []
        named = [f"output_dir={folder}", "name=run", f"seed={seed}", "logger.quiet=true", *overrides]
        subprocess.run([*command, *data, *named], check=True, stdout=subprocess.DEVNULL)
        views = [sys.executable, "-m", "imclass", "evaluate", str(run), "--tta", "flip_shift", "--json"]
        viewed = json.loads(subprocess.run(views, check=True, stdout=subprocess.PIPE).stdout)
        summary = json.loads((run / "summary.json").read_text())
        settings = yaml.safe_load((run / "config.yaml").read_text())
    seconds, images = summary["seconds"], summary["step"] * settings["train"]["batch_size"]
    return {
        "seconds": seconds["train"] + seconds["evaluate"],
        "validation": summary["best"]["accuracy"],
        "test": summary["test"]["accuracy"],
        "test, views": viewed["accuracy"],
        "images/s": summary["images_per_second"],
        "PFLOP": petaflop(settings, *((3, 32) if root else (1, 28)), images),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("speedrun.json"))
    parser.add_argument("--reference", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    if options.reference:
        print(reference_images_per_second())
        return
    rows: list[dict[str, float]] = []
    for seed in range(options.seeds):
        row = run_of(options.root, seed, options.overrides)
        if options.root:
            timed = subprocess.run(
                [sys.executable, __file__, "--reference"], check=True, stdout=subprocess.PIPE
            )
            row["reference"] = EPOCHS * IMAGES / float(timed.stdout)
            row["ratio"] = row["seconds"] / row["reference"]
        rows.append(row)
        print(
            f"seed {seed}: " + "  ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()), flush=True
        )
        options.output.write_text(json.dumps(rows, indent=1))
    for key in rows[0]:
        values = [row[key] for row in rows]
        print(f"{key:12} mean {statistics.mean(values):.4f}, {min(values):.4f} to {max(values):.4f}")


if __name__ == "__main__":
    main()
