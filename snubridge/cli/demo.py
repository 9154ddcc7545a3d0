"""Train on Bach chorales, export to every engine, and compare every spike.

Parses chorales from the corpus inside the package music21 (nothing is downloaded), trains the
88-150-88 network of Wozniak et al. 2020 to predict the next chord, runs held-out chorales on
Brian2, Nengo, ONNX Runtime, a PCM crossbar description and torch, and leaves everything in a folder.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from snubridge.bridge.plugins import adapter as find_adapter
from snubridge.bridge.plugins import load_engine
from snubridge.errors import BadFile, BadInput, MissingEngine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""
    parser.add_argument("--out", default="out", metavar="FOLDER", help="where everything is left (default: out)")
    parser.add_argument("--epochs", type=int, default=80, help="how long to train (default: 80)")
    parser.add_argument("--samples", type=int, default=16, help="held-out chorales to run on the engines (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="fixes the training (default: 0)")


def run(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    for name in ("epochs", "samples"):
        if getattr(args, name) < 1:
            raise BadInput(f"--{name} {getattr(args, name)}: at least 1 is needed")
    if not 0 <= args.seed < 2**63:
        raise BadInput(f"--seed {args.seed}: an integer from 0 to 2^63 - 1 is needed")
    music = _music()
    out = Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFile(f"{out}: cannot be made: {error.strerror}") from None
    if not os.access(out, os.W_OK):
        raise BadFile(f"{out}: is not writable")
    for name in music.FLOAT64:
        load_engine(find_adapter(name))  # said now, not after the training
    progress = sys.stderr.isatty()
    demo = music.run(
        out,
        epochs=args.epochs,
        samples=args.samples,
        seed=args.seed,
        say=_say if progress else _silent,
        trained=_Epochs(args.epochs) if progress else _silent,
        progress=progress,
    )
    status = 0 if demo.report.equal and not demo.report.silent else 1
    return status, demo.document(), f"{demo.to_text()}\n\nThe picture: {out / 'spikes.png'}; the rest lies beside it."


def _music() -> Any:
    """The demo's room, or what has to be installed for it."""
    try:
        for library in ("matplotlib", "music21", "torch", "tqdm"):
            importlib.import_module(library)
    except ImportError as error:
        raise MissingEngine(f"{error.name or error} is not installed: pip install 'snubridge[all]'") from None
    from snubridge.demo import music

    return music


def _say(what: str) -> None:
    print(what, file=sys.stderr)


def _silent(*_: object) -> None:
    pass


class _Epochs:
    """A progress bar over the epochs of training."""

    def __init__(self, epochs: int) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=epochs, unit="epoch", leave=False)

    def __call__(self, epoch: int, nll: float) -> None:
        self.bar.set_postfix_str(f"validation {nll:.2f} nats")
        self.bar.update()
        if epoch == self.bar.total:
            self.bar.close()
