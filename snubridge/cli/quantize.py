"""Bring a graph into fixed point, and say how many spikes that changes."""

from __future__ import annotations

import argparse
from typing import Any

from snubridge.cli import arguments
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


def run(args: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """See ``snubridge.cli``."""
    arguments.output(args.out, args.graph, args.inputs, args.lengths)
    numbers = FixedPoint(args.fraction_bits, args.state_bits, args.decay_bits, args.rounding)
    graph = quantize(
        load(args.graph),
        numbers,
        None if args.inputs is None else arguments.inputs(args),
        scale="max" if args.scale == "max" else None,
        lengths=arguments.lengths(args),
    )
    save(graph, args.out)
    quantized = graph.metadata["quantized"]
    exact_in = "float64" if beyond(graph, "float32") else "float32"
    document = {
        "out": args.out,
        "numbers": describe_numbers(graph.numbers),
        "exact_in": exact_in,
        **{key: quantized.get(key) for key in ("scales", "spikes", "outputs")},
    }
    spikes, outputs = quantized.get("spikes", {}), quantized.get("outputs", {})
    lines = [f"{args.out}: states of {args.state_bits} bits, every sum exact in {exact_in}"]
    lines += [f"  {name}: {n['changed']:,} of {n['total']:,} spikes changed" for name, n in spikes.items()]
    lines += [f"  {name}: at most {gap:.3g} apart" for name, gap in outputs.items()]
    return 0, document, "\n".join(lines)
