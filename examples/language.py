"""A character level language model on Python's documentation: spiking neural units and torch's LSTM, by the clock.

    python examples/language.py [--model all] [--text all] [--seconds 15 45 120] [--seeds 2] [--search] [--out FILE]

The text is the documentation that ships with every Python: the topics of its help (pydoc_data.topics, 465 thousand
characters in 3.11) and the docstrings of its standard library (1.5 million), in a fixed random order; the first 90 % to
train on, the next 5 % for validation, the last 5 % to test. Both models are 256 wide, read 16 streams of it 128
characters at a time with their state carried over, and have so many seconds of one thread to train in, over which the
learning rate falls to 0. A run's figures are bits per character at its best point by validation. Needs
snubridge[torch].
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import itertools
import math
import platform
import random
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import race
import torch
from torch import Tensor
from torch.nn import functional

import snubridge as sb
from snubridge import nn
from snubridge.errors import BadInput, SnubridgeError

UNITS, EMBEDDED, STREAMS, STEPS, POINTS = 256, 64, 16, 128, 12
WARM_UP, CLIP = 20, 1.0
BUDGETS = [15.0, 45.0, 120.0]
SEARCHED = 1000  # the seed that settings are chosen with


@dataclass(frozen=True)
class Settings:
    """AdamW, a short warm-up, a cosine over the budget; the grid is searched by the validation loss alone."""

    learning_rate: float
    window: int  # how many characters, the latest included, are the input of a step
    weight_decay: float


GRID = [Settings(*point) for point in itertools.product((0.01, 0.02), (1, 4), (0.01, 0.1))]


@dataclass(frozen=True)
class Text:
    """Characters as numbers of the alphabet."""

    alphabet: str
    train: Tensor
    valid: Tensor
    test: Tensor


class Gated(torch.nn.Module):
    """Two layers of units side by side, one the gate of the other: tanh(s) * sigmoid(s' - threshold).

    The values are integrators that leak and are never reset, the gates soft spiking neural units, which are. Every unit
    has a decay of its own, which is learned.
    """

    def __init__(self, inputs: int, std: float, projection: str = "dense") -> None:
        super().__init__()
        options: dict[str, Any] = {"learn_decay": True, "projection": projection}
        decays = torch.linspace(0.3, 0.99, UNITS)
        made = {"h": sb.Tanh(), "threshold": 0.0, "reset": sb.Reset.NONE}, {"h": sb.Sigmoid(), "threshold": 0.5}
        self.value, self.gate = (
            nn.SNU(inputs, UNITS, decay=decays[torch.randperm(UNITS)], **options, **kind) for kind in made
        )
        for layer in (self.value, self.gate):
            torch.nn.init.normal_(layer.weight, std=std)

    def forward(self, x: Tensor, states: Any) -> tuple[Tensor, Any]:
        """x (T, B, inputs) to y (T, B, UNITS) and the states after the last step."""
        (value, first), (gate, second) = self.value(x, states[0]), self.gate(x, states[1])
        return value * gate, tuple(nn.State(*(part.detach() for part in state)) for state in (first, second))


class Soft(torch.nn.Module):
    """Two gated layers of soft units, without weights from a layer to itself; the second also passes on its input.

    The input is one-hot, one character of the window beside the other: so few of it are 1 that the first layer adds
    up columns of its weights. All memory beyond the window is in the units' states.
    """

    def __init__(self, symbols: int, settings: Settings) -> None:
        super().__init__()
        self.symbols = symbols
        inputs = settings.window * (symbols + 1)  # and no character, before the start
        self.first = Gated(inputs, settings.window**-0.5, "events")  # of a sum over the window: 1
        self.second = Gated(UNITS, (3 * UNITS) ** -0.5)
        self.norms = torch.nn.ModuleList([torch.nn.LayerNorm(UNITS), torch.nn.LayerNorm(UNITS)])

    def forward(self, x: Tensor, states: Any) -> tuple[Tensor, Any]:
        """Windows x (T, B, window) of characters to y (T, B, UNITS) and the states after the last step."""
        before = ((None, None), (None, None)) if states is None else states
        hot = torch.zeros(*x.shape, self.symbols + 1).scatter_(-1, x[..., None], 1.0)
        y, first = self.first(hot.flatten(2), before[0])
        z, second = self.second(self.norms[0](y), before[1])
        return self.norms[1](y + z), (first, second)


class LSTM(torch.nn.Module):
    """One layer of torch's LSTM; its input is the sum of an embedding of each character of the window."""

    def __init__(self, symbols: int, settings: Settings) -> None:
        super().__init__()
        self.embeddings = torch.nn.ModuleList(
            torch.nn.Embedding(symbols + 1, EMBEDDED, padding_idx=symbols) for _ in range(settings.window)
        )
        self.lstm = torch.nn.LSTM(EMBEDDED, UNITS)

    def forward(self, x: Tensor, states: Any) -> tuple[Tensor, Any]:
        """Windows x (T, B, window) of characters to y (T, B, UNITS) and the states after the last step."""
        embedded = sum(embedding(x[..., place]) for place, embedding in enumerate(self.embeddings))
        y, states = self.lstm(embedded, states)
        return y, tuple(state.detach() for state in states)


MODELS: dict[str, tuple[Callable[[int, Settings], torch.nn.Module], Settings]] = {
    "ssnu": (Soft, Settings(0.02, 4, 0.1)),
    "lstm": (LSTM, Settings(0.02, 4, 0.1)),
}


class Language(torch.nn.Module):
    """Characters (T, B) to logits (T, B, symbols) of the character after each; the state holds the last window, too."""

    def __init__(self, name: str, symbols: int, settings: Settings) -> None:
        super().__init__()
        self.symbols, self.window = symbols, settings.window
        self.core = MODELS[name][0](symbols, settings)
        self.read_out = torch.nn.Linear(UNITS, symbols)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        blank = x.new_full((self.window - 1, x.shape[1]), self.symbols)  # no character: before the start
        past, states = (blank, None) if state is None else state
        joined = torch.cat([past, x])
        y, states = self.core(joined.unfold(0, self.window, 1), states)
        logits: Tensor = self.read_out(y)
        return logits, (joined[len(x) :], states)


OTHERS = {"site-packages", "dist-packages", "test", "__pycache__"}
"""Folders beside the packages of the standard library that are none of it, or no documentation."""


def docstrings() -> list[str]:
    """Those in ASCII of all modules, classes and functions of the standard library, its packages' modules included."""
    library = Path(sysconfig.get_path("stdlib"))
    sources = [*library.glob("*.py"), *(path for path in library.glob("*/*.py") if path.parent.name not in OTHERS)]
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    nodes = (node for path in sorted(sources) for node in ast.walk(ast.parse(path.read_bytes())))
    found = [ast.get_docstring(node) for node in nodes if isinstance(node, kinds)]
    return [text for text in found if text and text.isascii()]


TEXTS: dict[str, Callable[[], list[str]]] = {
    "topics": lambda: [topics[name] for name in sorted(topics)],
    "all": lambda: [topics[name] for name in sorted(topics)] + docstrings(),
}


def load(name: str) -> Text:
    """The text of this Python, piece after piece in a fixed random order; its alphabet is that of all of it."""
    pieces = TEXTS[name]()
    random.Random(0).shuffle(pieces)
    text = "\n\n".join(pieces)
    alphabet = "".join(sorted(set(text)))
    place = {character: index for index, character in enumerate(alphabet)}
    codes = torch.tensor([place[character] for character in text])
    ends = len(text) * 90 // 100, len(text) * 95 // 100
    return Text(alphabet, codes[: ends[0]], codes[ends[0] : ends[1]], codes[ends[1] :])


def streams(codes: Tensor) -> Tensor:
    """The text cut into ``STREAMS`` that lie side by side, (n, STREAMS)."""
    length = len(codes) // STREAMS
    return codes[: length * STREAMS].view(STREAMS, length).t().contiguous()


def loss(network: Language, codes: Tensor, state: Any) -> tuple[Tensor, Any]:
    """The mean NLL in nats of all characters (T + 1, B) but the first, and the state after them."""
    logits, state = network(codes[:-1], state)
    return functional.cross_entropy(logits.flatten(0, 1), codes[1:].flatten()), state


@torch.no_grad()
def evaluate(network: Language, codes: Tensor) -> float:
    """Bits per character."""
    network.eval()
    bits = float(loss(network, streams(codes), None)[0]) / math.log(2)
    network.train()
    return bits


def train(
    name: str, settings: Settings, text: Text, seed: int, seconds: float, steps: int | None = None
) -> dict[str, Any]:
    """One run: its curve over the seconds spent in training, and its figures at the best point by validation.

    With ``steps`` it ends after so many instead, and is the same wherever it runs.
    """
    clock, started = race.Clock(), time.perf_counter()
    torch.manual_seed(seed)
    network = Language(name, len(text.alphabet), settings)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    train_on = streams(text.train)
    loss(network, train_on[: STEPS + 1], None)[0].backward()  # kernels are compiled, or read, before the clock runs
    curve: race.Curve = []
    best: dict[str, Any] = {}
    done, place, state, spent = 0, 0, None, 0.0
    while spent < 1:
        if place + STEPS >= len(train_on):
            place, state = 0, None
        rate = settings.learning_rate * min(1.0, (done + 1) / WARM_UP) * (1 + math.cos(math.pi * spent)) / 2
        with clock:
            for group in optimizer.param_groups:
                group["lr"] = rate
            nll, state = loss(network, train_on[place : place + STEPS + 1], state)
            optimizer.zero_grad()
            nll.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
        done, place = done + 1, place + STEPS
        spent = clock.seconds / seconds if steps is None else done / steps
        if spent * POINTS >= len(curve) + 1:
            valid = evaluate(network, text.valid)
            curve.append((round(clock.seconds, 2), round(valid, 4)))
            if not best or valid < best["validation"]:
                best = {"at": curve[-1][0], "validation": valid, "test": evaluate(network, text.test)}
            race.show(f"{name}, seed {seed}, {clock.seconds:.0f} s: {valid:.3f}")
    return {
        "seed": seed,
        **best,
        "steps": done,
        "epochs": done * STEPS / len(train_on),
        "ms_per_step": 1000 * clock.seconds / done,
        "wall_seconds_with_evaluation": round(time.perf_counter() - started, 1),
        "curve": curve,
    }


def search(names: Sequence[str], text: Text, seconds: float, steps: int | None) -> dict[str, Any]:
    """The validation figure of a further seed at each point of the grid, and the best point, for each model."""
    found: dict[str, Any] = {}
    for name in names:
        points = [
            {**asdict(settings), "validation": train(name, settings, text, SEARCHED, seconds, steps)["validation"]}
            for settings in GRID
        ]
        best = min(points, key=lambda point: point["validation"])
        found[name] = {"grid": points, "best": {key: best[key] for key in asdict(GRID[0])}}
    return found


def summary(name: str, runs: Sequence[dict[str, Any]], rivals: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The runs of one budget with mean and standard deviation over seeds; the LSTM's runs say what is to be reached."""
    pairs = zip(runs, rivals, strict=bool(rivals))
    times = [race.reached(run["curve"], min(bits for _, bits in rival["curve"])) for run, rival in pairs]
    return {
        **{key: race.spread(run[key] for run in runs) for key in ("validation", "test", "ms_per_step", "epochs")},
        "seconds_to_the_best_of_lstm": times,
        "runs": list(runs),
    }


HEAD = ["model", "budget", "parameters", "validation", "test", "ms per step", "epochs", "s to LSTM's best"]


def row(name: str, budget: str, size: int, found: dict[str, Any]) -> list[str]:
    """One line of the table."""
    hits = [t for t in found["seconds_to_the_best_of_lstm"] if t is not None]
    return [
        name,
        budget,
        f"{size:,}",
        *("{mean:.3f} ± {std:.3f}".format(**found[split]) for split in ("validation", "test")),
        f"{found['ms_per_step']['mean']:.1f}",
        f"{found['epochs']['mean']:.1f}",
        f"{race.spread(hits)['mean']:.1f} ({len(hits)} of {len(found['runs'])})" if hits else "-",
    ]


def compare(options: argparse.Namespace) -> None:
    """Train the models asked for within each budget, print a row for each, and write all of it."""
    race.prepare(options)
    if min(options.seconds) <= 0 or not math.isfinite(max(options.seconds)):
        raise BadInput(f"--seconds {' '.join(map(str, options.seconds))}: each must be above 0")
    if options.steps is not None and options.steps < 1:
        raise BadInput(f"--steps {options.steps}: at least 1 is needed")
    text, names = load(options.text), list(MODELS) if options.model == "all" else [options.model]
    whole = text.alphabet.encode() + b"".join(bytes(part.tolist()) for part in (text.train, text.valid, text.test))
    searched = search(names, text, min(options.seconds), options.steps) if options.search else None
    chosen = {name: Settings(**searched[name]["best"]) if searched else MODELS[name][1] for name in names}
    networks = {name: Language(name, len(text.alphabet), chosen[name]) for name in names}
    results: dict[str, Any] = {
        "data": {
            "text": f"{options.text}, of Python {platform.python_version()}",
            "sha256_of_codes": hashlib.sha256(whole).hexdigest(),
            "characters": {split: len(getattr(text, split)) for split in ("train", "valid", "test")},
            "symbols": len(text.alphabet),
        },
        "units": UNITS,
        "streams": STREAMS,
        "characters_per_step": STREAMS * STEPS,
        **race.circumstances(options.threads),
        "search": searched,
        "models": {
            name: {"settings": asdict(chosen[name]), "parameters": race.parameters(net), "core": str(net.core)}
            for name, net in networks.items()
        },
        "budgets": {},
    }
    rows = []
    for seconds in options.seconds if options.steps is None else [math.inf]:
        budget = f"{seconds:g} s" if options.steps is None else f"{options.steps} steps"
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for seed, name in itertools.product(range(options.seeds), names):  # in turn, under the same load
            runs[name].append(train(name, chosen[name], text, seed, seconds, options.steps))
        race.show("")
        found = {name: summary(name, runs[name], runs.get("lstm", [])) for name in names}
        results["budgets"][budget] = found
        rows += [row(name, budget, race.parameters(networks[name]), found[name]) for name in names]
        race.write(options.out, results)  # what is done is kept
    race.table(HEAD, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 and one line on standard error."""
    parser = race.parser(__doc__, seeds=2)
    parser.add_argument("--model", default="all", choices=["all", *MODELS])
    parser.add_argument("--text", default="all", choices=list(TEXTS), help="topics: of the help alone (default: all)")
    parser.add_argument("--seconds", type=float, nargs="+", default=BUDGETS, help="budgets (default: 15 45 120)")
    parser.add_argument("--steps", type=int, help="one budget of so many steps instead: the same on every machine")
    parser.add_argument("--search", action="store_true", help="choose the settings from the grid first")
    try:
        compare(parser.parse_args(arguments))
    except SnubridgeError as error:
        print(f"language: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
