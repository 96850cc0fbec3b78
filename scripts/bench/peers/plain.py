"""A training script as tutorials write it, or tuned for a CPU: torchvision's data set, transforms and model.

    python scripts/bench/peers/plain.py FOLDER [--epochs 2] [--batch 128] [--stem cifar] [--tuned]

`--tuned`: bfloat16 where the CPU has units for it, channels-last memory, fused SGD, workers that stay.
Prints `first step` after its first step and `accuracy A` at the end.
"""

import argparse

import torch
import torchvision
from network import STEMS, resnet18
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--stem", choices=STEMS, default="cifar")
    options = parser.parse_args()

    standard = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    augmented = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *standard]
    train_set = torchvision.datasets.ImageFolder(f"{options.folder}/train", transforms.Compose(augmented))
    test_set = torchvision.datasets.ImageFolder(f"{options.folder}/test", transforms.Compose(standard))
    workers = {"num_workers": 2, "persistent_workers": options.tuned}
    train_loader = DataLoader(train_set, options.batch, shuffle=True, drop_last=True, **workers)
    test_loader = DataLoader(test_set, 512 if options.tuned else options.batch, **workers)

    model = resnet18(len(train_set.classes), options.stem)
    layout = torch.channels_last if options.tuned else torch.contiguous_format
    model = model.to(memory_format=layout)
    fast = options.tuned and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # no public name
    )
    steps = options.epochs * len(train_loader)
    optimizer = torch.optim.SGD(
        model.parameters(), options.lr, momentum=0.9, weight_decay=5e-4, fused=options.tuned
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    criterion = nn.CrossEntropyLoss()

    first = True
    for _ in range(options.epochs):
        model.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                loss = criterion(model(images.to(memory_format=layout)), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
            if first:
                print("first step", flush=True)
                first = False
        model.eval()
        correct = 0
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
            for images, labels in test_loader:
                correct += (model(images.to(memory_format=layout)).argmax(1) == labels).sum().item()
        print(f"accuracy {correct / len(test_set):.4f}", flush=True)


if __name__ == "__main__":
    main()
