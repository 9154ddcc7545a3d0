"""The paper's music task: predict the next chord of Bach's chorales with 150 units, and with torch's LSTM and GRU.

    python examples/jsb.py --data JSB_Chorales.mat [--model all] [--seeds 5] [--out results.json]

The data is the JSB split of Boulanger-Lewandowski et al. (ICML 2012) as a MATLAB file: the keys traindata, validdata
and testdata hold piano rolls (T, 88) of 0 and 1. The network is 88-150-88 (Wozniak et al., Nature Machine Intelligence
2, 325, 2020). A run's figure is the test NLL of its best epoch by validation, in nats, summed over the 88 notes of the
next step; the table shows mean and standard deviation over the seeds. Needs snubridge[torch] and scipy.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import snubridge as sb
from snubridge import nn
from snubridge.demo.chorales import KEYS, Roll, batch
from snubridge.errors import BadFile, BadInput, SnubridgeError, shown
from snubridge.ir.file import write_atomically

SPLITS = ("train", "valid", "test")
LARGEST = 1 << 20  # bytes of a file; the real one has 96,095
UNITS = 150
PAPER = {"snu": 8.72, "ssnu": 8.39, "lstm": 8.67, "gru": 8.54}
"""Test NLL in the paper, whose convention of averaging is not established."""

Data = dict[str, list[Roll]]


@dataclass(frozen=True)
class Settings:
    """How a model is trained: AdamW, a short warm-up, a cosine schedule; chosen by the validation NLL alone."""

    learning_rate: float
    dropout: float  # before the read-out
    epochs: int = 80
    batch: int = 16  # chorales of like length
    input_dropout: float = 0.0
    averaging: float = 0.98  # evaluated is the exponential moving average of the weights, this much kept at each step
    weight_decay: float = 0.01  # of matrices
    clip: float = 1.0  # norm of the gradient
    warm_up: int = 20  # steps


@dataclass(frozen=True)
class Model:
    """What takes x (T, B, 88) and returns y (T, B, 150) and a state, and how it is trained."""

    core: Callable[[], torch.nn.Module]
    settings: Settings


def snu(**options: Any) -> Callable[[], torch.nn.Module]:
    """A layer of spiking neural units whose decays start spread out and are learned, as are its thresholds."""
    return lambda: nn.SNU(KEYS, UNITS, decay=torch.linspace(0.3, 0.99, UNITS), learn_decay=True, **options)


SPIKING: dict[str, Any] = {"g": sb.ReLU(), "surrogate": nn.SuperSpike(3.0)}
SOFT: dict[str, Any] = {"h": sb.Sigmoid()}
MODELS = {
    "snu": Model(snu(**SPIKING), Settings(0.02, dropout=0.5)),
    "ssnu": Model(snu(**SOFT), Settings(0.05, dropout=0.3)),
    "snu-recurrent": Model(snu(**SPIKING, recurrent=True), Settings(0.02, dropout=0.3, epochs=40)),
    "ssnu-recurrent": Model(snu(**SOFT, recurrent=True), Settings(0.05, dropout=0.3, epochs=40)),
    "lstm": Model(lambda: torch.nn.LSTM(KEYS, UNITS), Settings(0.02, dropout=0.3, epochs=40)),
    "gru": Model(lambda: torch.nn.GRU(KEYS, UNITS), Settings(0.02, dropout=0.3, epochs=40)),
}


class Music(torch.nn.Module):
    """Piano rolls (T, B, 88) to logits (T, B, 88) of the step after each; the read-out starts at the notes' odds."""

    def __init__(self, core: torch.nn.Module, settings: Settings, odds: Tensor) -> None:
        super().__init__()
        self.core, self.settings = core, settings
        self.read_out = torch.nn.Linear(UNITS, KEYS)
        self.read_out.bias.data.copy_(odds)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.core(functional.dropout(x, self.settings.input_dropout, self.training))
        logits: Tensor = self.read_out(functional.dropout(y, self.settings.dropout, self.training))
        return logits


@dataclass(frozen=True)
class NLL:
    """Negative log-likelihood of the next step in nats, summed over notes, under both conventions of averaging."""

    steps: float  # mean over all predicted steps, ours
    chorales: float  # mean over chorales of each one's mean


def load(path: str | Path) -> tuple[Data, str]:
    """Rolls of the three splits, uint8 (T, 88) with T >= 2, and the SHA-256 of the file; ``BadFile`` if damaged."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from None
    if len(content) > LARGEST:
        raise BadFile(f"{path}: more than {LARGEST:,} bytes, which the JSB chorales do not have")
    names = [f"{split}data" for split in SPLITS]
    try:
        found = loadmat(io.BytesIO(content), variable_names=names)
    except Exception as error:  # noqa: BLE001  # scipy raises nearly anything on a damaged file
        raise BadFile(f"{path}: not a MATLAB file that scipy reads: {type(error).__name__}: {error}") from None
    if missing := [name for name in names if name not in found]:
        raise BadFile(f"{path}: no {' and no '.join(missing)}; needed {', '.join(names)}, as JSB_Chorales.mat has")
    data = {split: _rolls(path, f"{split}data", found[f"{split}data"]) for split in SPLITS}
    return data, hashlib.sha256(content).hexdigest()


def _rolls(path: str | Path, name: str, cells: Any) -> list[Roll]:
    """The rolls of one split, each of them checked."""
    if not isinstance(cells, np.ndarray) or cells.dtype != object or not cells.size:
        raise BadFile(f"{path}: {name} is not a cell array of piano rolls, or it is empty")
    rolls = []
    for index, roll in enumerate(cells.ravel()):
        place = f"{path}: {name}[{index}]"
        if not isinstance(roll, np.ndarray) or roll.dtype.kind not in "buif":
            raise BadFile(f"{place}: not an array of numbers, but {shown(getattr(roll, 'dtype', type(roll).__name__))}")
        if roll.ndim != 2 or roll.shape[1] != KEYS or len(roll) < 2:
            raise BadFile(f"{place}: shape {roll.shape}; needed (T, {KEYS}) with T >= 2")
        if not ((roll == 0) | (roll == 1)).all():
            raise BadFile(f"{place}: values other than 0 and 1")
        rolls.append(roll.astype(np.uint8))
    return rolls


def losses(network: Callable[[Tensor], Tensor], rolls: Sequence[Roll]) -> tuple[Tensor, Tensor]:
    """The loss of every step but the first (T - 1, B), summed over notes, and how many of them count (B,)."""
    padded, lengths = batch(rolls)
    x = torch.from_numpy(padded)
    each = functional.binary_cross_entropy_with_logits(network(x[:-1]), x[1:], reduction="none")
    return each.sum(-1), torch.from_numpy(lengths) - 1


@torch.no_grad()
def evaluate(network: Callable[[Tensor], Tensor], rolls: Sequence[Roll]) -> NLL:
    """The figures of a network, which is taken as it is: put it into evaluation mode before."""
    loss, counted = losses(network, rolls)
    return NLL(float(nn.mean_over_steps(loss, counted)), float(nn.OverTime("mean")(loss, counted).mean()))


def log_odds(rolls: Sequence[Roll]) -> Tensor:
    """Of each note (88,), over all steps that are predicted; notes that are never played get 1 in 10,000."""
    rate = torch.from_numpy(np.concatenate([roll[1:] for roll in rolls]).mean(0, dtype=np.float32))
    return torch.logit(rate, 1e-4)


def batches(rolls: Sequence[Roll], size: int) -> list[list[Roll]]:
    """Batches in random order, each of rolls of like length, so that little is padding."""
    ordered = sorted((rolls[int(i)] for i in torch.randperm(len(rolls))), key=len)
    cut = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return [cut[int(i)] for i in torch.randperm(len(cut))]


def train(model: Model, data: Data, seed: int, progress: Callable[[int, float], None]) -> dict[str, Any]:
    """One run: the figures of its best epoch by validation; ``progress`` is told each epoch and its validation NLL."""
    settings, started = model.settings, time.perf_counter()
    torch.manual_seed(seed)
    network = Music(model.core(), settings, log_odds(data["train"]))
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.averaging)).eval()
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [{"params": [p for p in network.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, *vectors], lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = settings.epochs * math.ceil(len(data["train"]) / settings.batch)

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / settings.warm_up) * (1 + math.cos(math.pi * step / steps)) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    best: dict[str, Any] = {}
    for epoch in range(1, settings.epochs + 1):
        network.train()
        for rolls in batches(data["train"], settings.batch):
            loss = nn.mean_over_steps(*losses(network, rolls))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
            optimizer.step()
            schedule.step()
            averaged.update_parameters(network)
        reached = evaluate(averaged, data["valid"])
        progress(epoch, reached.steps)
        if not best or reached.steps < best["validation"]["steps"]:
            best = {
                "best_epoch": epoch,
                "validation": asdict(reached),
                "test": asdict(evaluate(averaged, data["test"])),
            }
    return {"seed": seed, **best, "seconds": round(time.perf_counter() - started, 1)}


def summary(name: str, model: Model, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A model's settings, and its runs with mean and (sample) standard deviation over seeds, which one run lacks."""
    core = model.core()
    figures: dict[str, Any] = {}
    for split in ("validation", "test"):
        for convention in ("steps", "chorales"):
            values = [run[split][convention] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else None
            figures.setdefault(split, {})[convention] = {"mean": statistics.fmean(values), "std": spread}
    return {
        "paper": PAPER.get(name),
        **figures,
        "parameters": sum(p.numel() for p in Music(core, model.settings, torch.zeros(KEYS)).parameters()),
        "core": str(core),
        "settings": asdict(model.settings),
        "runs": list(runs),
    }


HEADER = """| model | parameters | paper | test NLL | per chorale | validation NLL | best epochs | s per seed |
|---|---:|---:|---:|---:|---:|---:|---:|"""


def row(name: str, found: dict[str, Any]) -> str:
    """One line of the table."""

    def figure(split: str, convention: str) -> str:
        mean, std = found[split][convention].values()
        return f"{mean:.3f}" if std is None else f"{mean:.3f} ± {std:.3f}"

    epochs = sorted(run["best_epoch"] for run in found["runs"])
    seconds = statistics.fmean(run["seconds"] for run in found["runs"])
    paper = "-" if found["paper"] is None else f"{found['paper']:.2f}"
    return (
        f"| {name} | {found['parameters']:,} | {paper} | {figure('test', 'steps')} | {figure('test', 'chorales')} "
        f"| {figure('validation', 'steps')} | {epochs[0]} to {epochs[-1]} of {found['settings']['epochs']} "
        f"| {seconds:.0f} |"
    )


def changed(model: Model, changes: Sequence[str]) -> Model:
    """The model with other settings, each given as NAME=VALUE."""
    kinds = {field.name: float if field.type == "float" else int for field in fields(Settings)}
    settings = model.settings
    for change in changes:
        name, _, value = change.partition("=")
        try:
            settings = replace(settings, **{name: kinds[name](value)})
        except (KeyError, ValueError):
            raise BadInput(f"--set {change}: needed NAME=NUMBER, NAME one of {', '.join(kinds)}") from None
    if settings.epochs < 1 or settings.batch < 1:
        raise BadInput(f"--set: epochs={settings.epochs}, batch={settings.batch}; each must be at least 1")
    return replace(model, settings=settings)


def show(what: str) -> None:
    """A line on standard error that is written over, if that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r{what:<70}", end="" if what else "\r", file=sys.stderr, flush=True)


def compare(options: argparse.Namespace) -> None:
    """Train the models asked for, print a row for each, and write all of it."""
    models = {
        name: changed(MODELS[name], options.set) for name in (MODELS if options.model == "all" else [options.model])
    }
    if options.seeds < 1:
        raise BadInput(f"--seeds {options.seeds}: at least 1 is needed")
    if options.out and not options.out.absolute().parent.is_dir():
        raise BadInput(f"--out {options.out}: there is no folder {options.out.parent}")
    data, digest = load(options.data)
    odds = log_odds(data["train"])
    baseline = evaluate(lambda x: odds.expand_as(x), data["test"])
    results: dict[str, Any] = {
        "data": {"sha256": digest, "chorales": {split: len(data[split]) for split in SPLITS}},
        "nll": NLL.__doc__,
        "notes_alone": asdict(baseline),
        "versions": {"python": platform.python_version(), "snubridge": sb.__version__, "torch": torch.__version__},
        "machine": f"{platform.machine()}, one thread",
        "models": {},
    }
    print(HEADER, flush=True)
    for name, model in models.items():
        runs = [
            train(
                model, data, seed, lambda epoch, nll, at=f"{name}, seed {seed}": show(f"{at}, epoch {epoch}: {nll:.3f}")
            )
            for seed in range(options.seeds)
        ]
        show("")
        results["models"][name] = summary(name, model, runs)
        print(row(name, results["models"][name]), flush=True)
    print(f"Each note by its own frequency alone: {baseline.steps:.3f}")
    if options.out:
        write_atomically(options.out, (json.dumps(results, indent=2, allow_nan=False) + "\n").encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 and one line on standard error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, metavar="FILE", help="JSB_Chorales.mat")
    parser.add_argument("--model", default="all", choices=["all", *MODELS])
    parser.add_argument("--seeds", type=int, default=5, help="how many runs of each model (default: %(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another setting, say epochs=2"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write settings and figures of every run as JSON")
    torch.set_num_threads(1)  # a step is too small to share, and the same sums give the same weights
    try:
        compare(parser.parse_args(arguments))
    except SnubridgeError as error:
        print(f"jsb: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
