"""The music network trained on a GPU by the Triton kernel, and the spikes that it gave, for every engine to repeat.

    python benchmarks/gpu_music.py [--steps 2000] [--samples 8] [--out tests/gpu/music]

Leaves net.safetensors, spikes.npz (inputs and spikes as bits, lengths) and card.json. ``tests/gpu`` replays them on
every engine. Where there is no GPU it ends with status 2; in a process started with TRITON_INTERPRET=1 it does the
same on the CPU, slowly, to try this program.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import snubridge as sb
from snubridge import nn
from snubridge.demo.chorales import KEYS, batch
from snubridge.nn.kernels import triton as kernels

LEARNING_RATE, BATCH = 8e-3, 32


def build(units: int, device: torch.device) -> nn.Sequential:
    """88 keys, spiking units on the Triton kernel, 88 logits."""
    torch.manual_seed(0)
    layer = nn.SNU(KEYS, units, decay=0.8, threshold=0.3, g=sb.ReLU(), learn_decay=True, kernel="triton")
    return nn.Sequential(layer, torch.nn.Linear(units, KEYS)).to(device)


def train(network: nn.Sequential, rolls: Sequence[Any], steps: int, rate: float = LEARNING_RATE) -> list[float]:
    """So many steps of AdamW, each on ``BATCH`` chorales; the loss of each, in nats."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    device, losses, drawn = next(network.parameters()).device, [], torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(rolls), (BATCH,), generator=drawn).tolist()
        padded, lengths = batch([rolls[index] for index in chosen])
        x = torch.from_numpy(padded).to(device)
        logits, _ = network(x[:-1])
        each = torch.nn.functional.binary_cross_entropy_with_logits(logits, x[1:], reduction="none").sum(-1)
        loss = nn.mean_over_steps(each, torch.from_numpy(lengths).to(device) - 1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses


def record(network: nn.Sequential, rolls: Sequence[Any]) -> dict[str, Any]:
    """Inputs (T, B, 88), lengths (B,), and the spikes of the layer (T, B, units) as the device gave them."""
    inputs, lengths = batch(rolls)
    with torch.no_grad():
        spikes, _ = network[0](torch.from_numpy(inputs).to(next(network.parameters()).device))
    return {"inputs": inputs, "lengths": lengths, "spikes": spikes.cpu().numpy()}


def write(out: Path, graph: sb.Graph, recorded: dict[str, Any], about: dict[str, Any]) -> None:
    """The three files."""
    out.mkdir(parents=True, exist_ok=True)
    sb.save(graph, out / "net.safetensors")
    arrays = {name: np.packbits(recorded[name].astype(bool), axis=-1) for name in ("inputs", "spikes")}
    np.savez_compressed(out / "spikes.npz", lengths=recorded["lengths"], **arrays)
    (out / "card.json").write_text(json.dumps(about, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000, help="of training (default: %(default)s)")
    parser.add_argument("--units", type=int, default=150)
    parser.add_argument("--samples", type=int, default=8, help="held-out chorales to record (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="only the first works of the corpus")
    parser.add_argument("--out", type=Path, default=Path("tests/gpu/music"))
    args = parser.parse_args()
    if not torch.cuda.is_available() and not kernels.interpreted():
        print("error: no GPU; TRITON_INTERPRET=1 tries this program on the CPU", file=sys.stderr)
        return 2
    from snubridge.demo.chorales import load_chorales

    chorales = load_chorales(limit=args.limit)
    device = torch.device("cpu" if kernels.interpreted() else "cuda")
    network = build(args.units, device)
    losses = train(network, chorales.train, args.steps)
    graph = nn.capture(network, KEYS)
    recorded = record(network, chorales.test[: args.samples])
    import triton

    write(
        args.out,
        graph,
        recorded,
        {
            "card": torch.cuda.get_device_name() if device.type == "cuda" else f"interpreted, {platform.machine()}",
            "torch": torch.__version__,
            "triton": triton.__version__,
            "kernel": str(network[0].running_kernel),
            "steps": args.steps,
            "last loss": losses[-1],
        },
    )
    print(f"{args.out}: loss {losses[0]:.2f} -> {losses[-1]:.2f} nats, {int(recorded['spikes'].sum()):,} spikes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
