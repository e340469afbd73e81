"""Train the digits network that `fewbits demo` uses, and write it with its data.

The data are the UCI handwritten digits (1,797 pictures of 8×8 pixels) as scikit-learn carries
them. Nothing else of this repository needs scikit-learn or torch; install them beside it and run

    pip install torch==2.13.0 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.32.0
    python plugins/demo/train/train_digits.py

The seed is fixed and one thread is used, so on the same versions the same file comes out.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from export_digits import export
from network import DigitsNet
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

ASSETS = Path(__file__).parents[1] / "src" / "fewbits_demo" / "assets"
TEST_IMAGES = 540
MEAN, STD = 73.0, 90.0


class Split(NamedTuple):
    """Pictures, uint8 of shape `(n, 8, 8, 1)` in 0..240, and labels."""

    images: np.ndarray
    labels: np.ndarray


def load(seed: int) -> tuple[Split, Split]:
    """Return the training and the test part, stratified by class."""
    digits = load_digits()
    images = (digits.images * 15).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(images)), test_size=TEST_IMAGES, stratify=labels, random_state=seed
    )
    return Split(images[train], labels[train]), Split(images[test], labels[test])


def to_input(images: np.ndarray) -> Tensor:
    """Return float32 NCHW as `mean=73,std=90` makes it."""
    return torch.from_numpy((images.transpose(0, 3, 1, 2).astype(np.float32) - MEAN) / STD)


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, scale and shift each picture a little; the background stays background."""
    n = len(x)
    angle = (torch.rand(n, generator=generator) - 0.5) * 0.35
    scale = 1 + (torch.rand(n, generator=generator) - 0.5) * 0.2
    shift = (torch.rand(n, 2, generator=generator) - 0.5) * 0.35
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [
        torch.stack([cos, -sin, shift[:, 0]], dim=1),
        torch.stack([sin, cos, shift[:, 1]], dim=1),
    ]
    grid = nn.functional.affine_grid(torch.stack(rows, dim=1), list(x.shape), align_corners=False)
    background = -MEAN / STD
    moved = nn.functional.grid_sample(x - background, grid, align_corners=False)
    return moved + background


def train(net: DigitsNet, part: Split, epochs: int, seed: int) -> None:
    """Train in place with AdamW, one cycle, label smoothing."""
    generator = torch.Generator().manual_seed(seed)
    x, y = to_input(part.images), torch.from_numpy(part.labels)
    batch = 64
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    net.train()
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        total = 0.0
        for start in range(0, len(x) - batch + 1, batch):
            pick = order[start : start + batch]
            logits = net(augment(x[pick], generator))
            loss = nn.functional.cross_entropy(logits, y[pick], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {total / (len(x) // batch):.3f}", flush=True)


@torch.no_grad()
def accuracy(net: DigitsNet, part: Split) -> float:
    """Return top-1 in 0..1."""
    net.eval()
    guess = net(to_input(part.images)).argmax(dim=1).numpy()
    return float((guess == part.labels).mean())


def write(net: DigitsNet, train_part: Split, test_part: Split, folder: Path) -> None:
    """Write `digits.onnx`, `train.npz` and `test.npz`."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(export(net), folder / "digits.onnx")
    for name, part in (("train", train_part), ("test", test_part)):
        np.savez_compressed(folder / f"{name}.npz", images=part.images, labels=part.labels)


def main() -> None:
    """Train, check, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, default=ASSETS)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    train_part, test_part = load(arguments.seed)
    net = DigitsNet()
    print(f"{sum(p.numel() for p in net.parameters())} parameters, {len(train_part.images)} images")
    train(net, train_part, arguments.epochs, arguments.seed)
    print(f"test accuracy {accuracy(net, test_part):.4f} on {len(test_part.images)} images")
    write(net, train_part, test_part, arguments.output)


if __name__ == "__main__":
    main()
