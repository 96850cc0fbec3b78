"""`experiment=cifar10_speedrun` against the reference of its paper, side by side.

    python scripts/bench/speedrun.py --root FOLDER [--seeds 5] [--output speedrun.json] [overrides]

Reference: the network of arXiv:2404.00498, eight epochs of 50,000 images in batches of 2,000 with Muon, as
published beside it. Its seconds are those of forward, loss, backward and optimizer step on one batch in
memory, in bf16 where the CPU has units for it, with the C library's allocator: no data, augmentation or
evaluation. Ours: `imclass train`, its training and evaluations, then `imclass evaluate --tta flip_shift`.
FOLDER: CIFAR-10 as an image folder. Each seed measures both.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def run_of(root: Path, seed: int, overrides: list[str]) -> dict[str, float]:
    """Return seconds and accuracies of one run of the experiment."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        command = [sys.executable, "-m", "imclass", "train", "experiment=cifar10_speedrun"]
        data = ["dataset=image_folder", f"dataset.root={root}"]
        named = [f"output_dir={folder}", "name=run", f"seed={seed}", "logger.quiet=true", *overrides]
        subprocess.run([*command, *data, *named], check=True, stdout=subprocess.DEVNULL)
        views = [sys.executable, "-m", "imclass", "evaluate", str(run), "--tta", "flip_shift", "--json"]
        viewed = json.loads(subprocess.run(views, check=True, stdout=subprocess.PIPE).stdout)
        summary = json.loads((run / "summary.json").read_text())
    seconds = summary["seconds"]
    return {
        "seconds": seconds["train"] + seconds["evaluate"],
        "validation": summary["best"]["accuracy"],
        "test": summary["test"]["accuracy"],
        "test, views": viewed["accuracy"],
        "images/s": summary["images_per_second"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
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
        command = [sys.executable, __file__, "--root", options.root, "--reference"]
        timed = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        reference = EPOCHS * IMAGES / float(timed.stdout)
        row = run_of(options.root, seed, options.overrides) | {"reference": reference}
        rows.append(row | {"ratio": row["seconds"] / reference})
        print(
            f"seed {seed}: " + "  ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()), flush=True
        )
        options.output.write_text(json.dumps(rows, indent=1))
    for key in rows[0]:
        values = [row[key] for row in rows]
        print(f"{key:12} mean {statistics.mean(values):.4f}, {min(values):.4f} to {max(values):.4f}")


if __name__ == "__main__":
    main()
