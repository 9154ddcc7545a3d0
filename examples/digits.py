"""Handwritten digits as spike trains: layers of spiking neural units against torch's LSTM, by loss and by the clock.

    python examples/digits.py [--model all] [--seeds 5] [--epochs 30] [--search] [--out results.json]

The data is scikit-learn's digits, which comes with it: 1,797 images of 8 x 8 pixels, here split 1,077 / 360 / 360 in
a random order that is the same in every run. A pixel of brightness p in [0, 1] fires at each of 40 steps with
probability p / 4; the trains of the training images are drawn anew in each epoch, and are the same for all models of
one seed, as are those of the validation and the test images in all epochs. The logits are the mean over steps of a
linear read-out. A run's figures are those of its best epoch by validation. Needs snubridge[torch] and scikit-learn.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import race
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from snubridge import nn
from snubridge.errors import BadInput, SnubridgeError

PIXELS, UNITS, CLASSES, STEPS, RATE, BATCH = 64, 128, 10, 40, 0.25, 64
SEARCHED = 1000  # the seed that settings are chosen with
SIZES = {"train": 1077, "valid": 360, "test": 360}

Images = dict[str, tuple[Tensor, Tensor]]
"""Brightness (n, 64) in [0, 1] and class (n,) of each split."""


@dataclass(frozen=True)
class Settings:
    """Adam with a cosine schedule; the grid is searched by the validation loss alone."""

    learning_rate: float
    layers: int


GRID = [Settings(rate, layers) for rate, layers in itertools.product((0.003, 0.01, 0.03), (1, 2))]
DROPOUT = 0.3  # before the read-out


class Spiking(torch.nn.Module):
    """Feed-forward layers of spiking neural units with learned decays; every input is of 0 and 1."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        decays = torch.linspace(0.5, 0.99, UNITS)
        self.layers = nn.Sequential(
            *(
                nn.SNU(
                    UNITS if above else PIXELS,
                    UNITS,
                    decay=decays,
                    learn_decay=True,
                    threshold=0.5,
                    surrogate=nn.SuperSpike(3.0),
                    projection="events",
                )
                for above in range(layers)
            )
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        y: tuple[Tensor, Any] = self.layers(x)
        return y


MODELS: dict[str, tuple[Callable[[int], torch.nn.Module], Settings]] = {
    "snu": (Spiking, Settings(0.01, 2)),
    "lstm": (lambda layers: torch.nn.LSTM(PIXELS, UNITS, layers), Settings(0.03, 1)),
}


class Classifier(torch.nn.Module):
    """Spike trains (T, B, 64) to logits (B, 10)."""

    def __init__(self, core: torch.nn.Module) -> None:
        super().__init__()
        self.core = core
        self.read_out = torch.nn.Linear(UNITS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.core(x)
        logits: Tensor = self.read_out(functional.dropout(y.mean(0), DROPOUT, self.training))
        return logits


def load() -> Images:
    """The three splits."""
    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    x = torch.from_numpy(found.data).float()[order] / 16
    y = torch.from_numpy(found.target).long()[order]
    sizes = list(SIZES.values())
    return dict(zip(SIZES, zip(x.split(sizes), y.split(sizes), strict=True), strict=True))


def spikes(images: Tensor, seed: int, epoch: int) -> Tensor:
    """Spike trains (T, n, 64) of 0 and 1; epoch 0 is that of validation and test."""
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    return (torch.rand(STEPS, *images.shape, generator=generator) < RATE * images).float()


@torch.no_grad()
def evaluate(network: torch.nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """NLL in nats and share of right answers."""
    logits = network.eval()(x)
    return float(functional.cross_entropy(logits, y)), float((logits.argmax(-1) == y).float().mean())


def train(name: str, settings: Settings, images: Images, seed: int, epochs: int) -> dict[str, Any]:
    """One run: its curve over the seconds spent in training, and the figures of its best epoch by validation."""
    clock, started = race.Clock(), time.perf_counter()
    torch.manual_seed(seed)
    network = Classifier(MODELS[name][0](settings.layers))
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    pixels, classes = images["train"]
    total = epochs * math.ceil(len(classes) / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    held = {split: (spikes(images[split][0], seed, 0), images[split][1]) for split in ("valid", "test")}
    network(spikes(pixels[:BATCH], seed, 0)).sum().backward()  # kernels are compiled, or read, before the clock runs
    curve: race.Curve = []
    best: dict[str, Any] = {}
    for epoch in range(1, epochs + 1):
        network.train()
        x = spikes(pixels, seed, epoch)
        order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(epoch))
        for chosen in order.split(BATCH):
            batch = x[:, chosen]
            with clock:
                loss = functional.cross_entropy(network(batch), classes[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
        nll, accuracy = evaluate(network, *held["valid"])
        curve.append((round(clock.seconds, 4), round(nll, 5)))
        if not best or nll < best["validation"]["nll"]:
            best = {"best_epoch": epoch, "validation": {"nll": nll, "accuracy": accuracy}}
            best["test"] = dict(zip(("nll", "accuracy"), evaluate(network, *held["test"]), strict=True))
        race.show(f"{name}, seed {seed}, epoch {epoch}: {nll:.3f}")
    y, _ = network.core(held["valid"][0])
    return {
        "seed": seed,
        **best,
        "seconds_per_epoch": clock.seconds / epochs,
        "wall_seconds_with_evaluation": round(time.perf_counter() - started, 2),
        "mean_output": float(y.detach().mean()),
        "curve": curve,
    }


def summary(name: str, settings: Settings, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A model's settings, and its runs with mean and standard deviation over seeds."""
    network = Classifier(MODELS[name][0](settings.layers))
    figures = {
        f"{split}_{figure}": race.spread(run[split][figure] for run in runs)
        for split in ("validation", "test")
        for figure in ("nll", "accuracy")
    }
    return {
        "settings": asdict(settings),
        "parameters": race.parameters(network),
        "core": str(network.core),
        **figures,
        "seconds_per_epoch": race.spread(run["seconds_per_epoch"] for run in runs),
        "runs": list(runs),
    }


def search(names: Sequence[str], images: Images, epochs: int) -> dict[str, Any]:
    """The validation NLL of a further seed at each point of the grid, and the best point, for each model."""
    found: dict[str, Any] = {}
    for name in names:
        points = []
        for settings in GRID:
            nll = train(name, settings, images, SEARCHED, epochs)["validation"]["nll"]
            points.append({**asdict(settings), "nll": nll})
        best = min(points, key=lambda point: point["nll"])
        found[name] = {"grid": points, "best": {key: best[key] for key in asdict(GRID[0])}}
    return found


def row(name: str, found: dict[str, Any]) -> list[str]:
    """One line of the table."""
    per_epoch, nll, accuracy = found["seconds_per_epoch"]["mean"], found["test_nll"], found["test_accuracy"]
    times = [run.get("seconds_to_the_best_of_lstm") for run in found["runs"]]
    hits = [t for t in times if t is not None]
    reached = f"{race.spread(hits)['mean']:.2f} ({len(hits)} of {len(times)})" if hits else "-"
    return [
        name,
        f"{found['parameters']:,}",
        f"{nll['mean']:.4f} ± {nll['std']:.4f}",
        f"{100 * accuracy['mean']:.2f} ± {100 * accuracy['std']:.2f} %",
        f"{found['validation_nll']['mean']:.4f}",
        f"{per_epoch:.3f}",
        reached,
    ]


HEAD = ["model", "parameters", "test NLL", "test accuracy", "validation NLL", "s per epoch", "s to LSTM's best loss"]


def compare(options: argparse.Namespace) -> None:
    """Train the models asked for, print a row for each, and write all of it."""
    race.prepare(options)
    if options.epochs < 1:
        raise BadInput(f"--epochs {options.epochs}: at least 1 is needed")
    names = list(MODELS) if options.model == "all" else [options.model]
    images = load()
    chosen = {name: MODELS[name][1] for name in names}
    searched = search(names, images, options.epochs) if options.search else None
    if searched:
        chosen = {name: replace(chosen[name], **searched[name]["best"]) for name in names}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(options.seeds):  # in turn, so that all see the same moods of the machine
        for name in names:
            runs[name].append(train(name, chosen[name], images, seed, options.epochs))
    race.show("")
    models = {name: summary(name, chosen[name], runs[name]) for name in names}
    if "lstm" in runs:
        for rival, *others in zip(runs["lstm"], *runs.values(), strict=True):
            best = min(nll for _, nll in rival["curve"])
            for run in others:
                run["seconds_to_the_best_of_lstm"] = race.reached(run["curve"], best)
    results: dict[str, Any] = {
        "data": {"images": SIZES, "steps": STEPS, "largest_rate": RATE},
        "epochs": options.epochs,
        "batch": BATCH,
        "dropout": DROPOUT,
        **race.circumstances(options.threads),
        "search": searched,
        "models": models,
    }
    race.table(HEAD, (row(name, found) for name, found in models.items()))
    race.write(options.out, results)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 and one line on standard error."""
    parser = race.parser(__doc__, seeds=5)
    parser.add_argument("--model", default="all", choices=["all", *MODELS])
    parser.add_argument("--epochs", type=int, default=30, help="of each run (default: %(default)s)")
    parser.add_argument("--search", action="store_true", help="choose the settings from the grid first")
    try:
        compare(parser.parse_args(arguments))
    except SnubridgeError as error:
        print(f"digits: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
