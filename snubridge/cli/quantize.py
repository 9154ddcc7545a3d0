"""Bring a graph into fixed point, or into the integers of a Loihi chip, and say how many spikes that changes."""

from __future__ import annotations

import argparse
from typing import Any

from snubridge.cli import arguments
from snubridge.errors import BadInput
from snubridge.exactness.loihi import Loihi
from snubridge.exactness.quantization import quantize
from snubridge.ir.budget import beyond
from snubridge.ir.document import describe_numbers
from snubridge.ir.file import load, save
from snubridge.ir.numbers import ROUNDINGS, FixedPoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See ``snubridge.cli``."""
    arguments.add_graph(parser)
    parser.add_argument(
        "--inputs", metavar="X.npy", help="what calibrates: (T, B, *shape), or an .npz with one array per input"
    )
    parser.add_argument("--lengths", metavar="L.npy", help="(B,): how many steps of each sample calibrate and count")
    parser.add_argument("--out", required=True, metavar="NET.safetensors", help="the graph in fixed point")
    parser.add_argument("--state-bits", type=int, default=16, metavar="N", help="bits of a state (16)")
    parser.add_argument("--decay-bits", type=int, default=8, metavar="N", help="a decay is m / 2^N (8)")
    parser.add_argument(
        "--fraction-bits", type=int, metavar="N", help="of all parameters; chosen for each node if absent"
    )
    parser.add_argument("--rounding", choices=ROUNDINGS, default="floor", help="of the carried state (floor)")
    parser.add_argument(
        "--scale", choices=("max", "none"), default="max", help="whether units are scaled to their bits"
    )
    parser.add_argument("--loihi", action="store_true", help="into what a Loihi core holds, in its integers")
    parser.add_argument("--weight-bits", type=int, metavar="N", help="of a synapse, with --loihi (8)")
    parser.add_argument("--decays", type=int, metavar="N", help="that a unit keeps at most, with --loihi (4)")


FIXED = {"state_bits": 16, "decay_bits": 8, "fraction_bits": None, "rounding": "floor", "scale": "max"}
CHIP = ("weight_bits", "decays")


def numbers_of(args: argparse.Namespace) -> FixedPoint | Loihi:
    """What the options ask for; those that belong to the other numbers are ``BadInput``."""
    chip = {name: getattr(args, name) for name in CHIP if getattr(args, name) is not None}
    foreign = [name for name, usual in FIXED.items() if getattr(args, name) != usual] if args.loihi else [*chip]
    if foreign:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
        raise BadInput(f"{options}: {'not with' if args.loihi else 'only with'} --loihi; leave it out")
    if args.loihi:
        return Loihi(**chip)
    return FixedPoint(args.fraction_bits, args.state_bits, args.decay_bits, args.rounding)


def run(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    arguments.output(args.out, args.graph, args.inputs, args.lengths)
    graph = quantize(
        load(args.graph),
        numbers_of(args),
        None if args.inputs is None else arguments.inputs(args),
        scale="max" if args.scale == "max" else None,
        lengths=arguments.lengths(args),
    )
    save(graph, args.out)
    quantized, numbers = graph.metadata["quantized"], describe_numbers(graph.numbers)
    exact_in = "float64" if beyond(graph, "float32") else "float32"
    document = {
        "out": args.out,
        "numbers": numbers,
        "exact_in": exact_in,
        **{key: quantized.get(key) for key in ("units" if args.loihi else "scales", "spikes", "outputs")},
    }
    spikes, outputs = quantized.get("spikes", {}), quantized.get("outputs", {})
    lines = [f"{args.out}: states of {numbers['state_bits']} bits, every sum exact in {exact_in}"]
    for name, unit in quantized["units"].items() if args.loihi else ():
        cores = "1 core" if unit["cores"] == 1 else f"{unit['cores']} cores"
        lines.append(
            f"  {name}: {cores}, threshold {unit['threshold']}, spikes {unit['latency']} steps later on the chip"
        )
    if args.loihi and args.inputs is None:
        lines.append("  how many spikes that changes was not counted: give --inputs")
    lines += [f"  {name}: {n['changed']:,} of {n['total']:,} spikes changed" for name, n in spikes.items()]
    lines += [f"  {name}: at most {gap:.3g} apart" for name, gap in outputs.items()]
    return 0, document, "\n".join(lines)
