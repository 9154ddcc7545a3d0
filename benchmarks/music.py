"""How far the claim goes on a trained music network: certificates over all held-out chorales, rung 1 in fixed point.

    make demo && python benchmarks/music.py [--net out/net.safetensors]      prints JSON; exit 1 if a claim fails

The network is the demo's, 88-150-88, trained on music21's chorales. Held-out are all that it was not trained on and not
chosen by. The negative log-likelihood is that of the next chord, in nats, summed over notes, mean over steps.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np

import snubridge as sb
from snubridge.demo.chorales import batch, load_chorales

STATE_BITS, CALIBRATED = 16, 32
ENGINES = {
    "brian2": ("brian2", {}),
    "nengo": ("nengo", {}),
    "onnx float32": ("onnx", {"precision": "float32"}),
    "onnx float64": ("onnx", {"precision": "float64"}),
    "pcm": ("pcm", {}),
    "torch float32": ("torch", {"precision": "float32"}),
    "torch float64": ("torch", {"precision": "float64"}),
}
"""Every precision that each engine offers."""


def nll(logits: Any, rolls: Any, lengths: Any) -> float:
    """Of the next chord: log(1 + exp(z)) - z y, stable for any z."""
    z, y = logits[:-1], rolls[1:]
    loss = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
    counted = np.arange(len(z))[:, None] < lengths - 1
    return float((loss.sum(-1) * counted).sum() / counted.sum())


def shares(certificate: sb.Certificate) -> dict[str, Any]:
    """What a certificate says, in figures."""
    return {
        "decisions": certificate.decisions,
        "certified": certificate.certified,
        "conditional": certificate.conditional,
        "open": certificate.opened,
        "smallest margin": certificate.smallest_margin,
        "margins of the open": sorted(abs(place.margin) for place in certificate.open)[:5],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="out/net.safetensors", help="what make demo has left (default: %(default)s)")
    graph = sb.load(parser.parse_args().net)
    chorales = load_chorales(progress=sys.stderr.isatty())
    held_out = chorales.test
    inputs, lengths = batch(held_out)
    figures: dict[str, Any] = {"chorales": len(held_out), "steps": int(lengths.sum())}
    for precision in ("float64", "float32"):
        figures[precision] = shares(sb.certify(graph, inputs, precision, lengths=lengths))
    calibration, calibrated = batch(chorales.train[:CALIBRATED])
    numbers = sb.FixedPoint(fraction_bits=None, state_bits=STATE_BITS)
    fixed = sb.quantize(graph, numbers, calibration, lengths=calibrated)
    report = sb.verify(fixed, inputs, ENGINES, lengths=lengths)
    (output,) = graph.of_kind(sb.Output)
    before, after = (nll(sb.simulate(g, inputs).outputs[output], inputs, lengths) for g in (graph, fixed))
    spikes, changed = (sb.simulate(g, inputs).spikes for g in (graph, fixed))
    alive = np.arange(len(inputs))[:, None] < lengths
    figures["fixed point"] = {
        "numbers": repr(fixed.numbers),
        "rungs": {row.backend: row.rung for row in report.rows if row.kind == "spikes"},
        "rungs of values": {row.backend: row.rung for row in report.rows if row.kind == "values"},
        "differing": sum(row.differing for row in report.rows),
        "compared": sum(row.compared for row in report.rows),
        "nll": {"float": before, "fixed": after, "moved": after - before},
        "spikes changed": {name: float((y != changed[name])[alive].mean()) for name, y in spikes.items()},
    }
    print(json.dumps(figures, indent=2))
    held = (
        figures["float64"]["certified"] == 1.0
        and set(figures["fixed point"]["rungs"].values()) == {"exact"}
        and not figures["fixed point"]["differing"]
        and abs(after - before) < 0.01
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
