"""Trained networks in Loihi's integers on nengo-loihi's emulator, beside the float ones: loss, accuracy, spikes.

    make demo .venv-loihi/installed
    OMP_NUM_THREADS=1 .venv-loihi/bin/python benchmarks/loihi.py [--epochs N] [--out F.json] [--markdown F.md]

Three of each: float, on the reference; quantized after training, on the emulator; fine-tuned on the grid, on the
emulator, the epoch chosen by the validation set. Music is the demo's network, 88-150-88 with a read-out on the host,
its figure the negative log-likelihood of the next chord in nats. Digits is 64-128-128-10 on scikit-learn's images as
spike trains of 40 steps, see examples/digits.py, its figures loss and accuracy of the mean logits. Every run on the
emulator is compared with the graph's own, spike by spike: a difference ends the program with 1.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import snubridge as sb
from snubridge import nn
from snubridge.demo.chorales import batch, load_chorales
from snubridge.exactness.loihi import read_layers, trainable_ranges

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import digits  # a program beside its data, not a package

BATCH, RATE, LAYERS = 32, 1e-3, 2
LEAST_THRESHOLD = 0.2
"""All neurons of a unit share one integer threshold: the largest weight beside a threshold sets the steps of all."""
SURROGATE = nn.SuperSpike(3.0)
Loss = Callable[[Tensor, Any], Tensor]


def say(what: str) -> None:
    print(f"loihi: {what}", file=sys.stderr, flush=True)


def fine_tuned(
    graph: sb.Graph, epochs: int, batches: Callable[[int], Any], loss: Loss, held: Any, surrogate: Any
) -> Any:
    """The graph trained on its grid, from the epoch that ``held`` (input, targets) likes best; losses by epoch."""
    network, ranges = nn.to_module(graph, surrogate=surrogate), trainable_ranges(graph)
    (entry,) = graph.of_kind(sb.Input).values()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)

    def measure() -> float:
        with torch.no_grad():
            return float(loss(network(held[0])[0], held[1]))

    curve = [measure()]
    best = copy.deepcopy(network.state_dict())
    for epoch in range(1, epochs + 1):
        for x, targets in batches(epoch):
            optimizer.zero_grad()
            loss(network(x)[0], targets).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                for (node, field), (low, high) in ranges.items():
                    network.parameter(node, field).clamp_(low, high)
        curve.append(measure())
        say(f"  epoch {epoch}: {curve[-1]:.4f}, from {curve[0]:.4f}")
        if curve[-1] == min(curve):
            best = copy.deepcopy(network.state_dict())
    network.load_state_dict(best)
    return nn.capture(network, entry.shape), curve


def emulated(graph: sb.Graph, x: Any) -> tuple[sb.Trace, dict[str, Any]]:
    """A run on the emulator, and how it compares with the graph's own."""
    program, started = sb.export(graph, "nengo", profile="loihi"), time.perf_counter()
    found = program.run(x)
    seconds = time.perf_counter() - started
    comparison = sb.compare(sb.simulate(graph, x), found)
    spiking = [unit for unit in comparison.units.values() if unit.kind == "spikes"]
    return found, {
        "compared": sum(unit.compared for unit in spiking),
        "differing": sum(unit.differing for unit in comparison.units.values()),
        "spikes": sum(unit.spikes for unit in spiking),
        "seconds": round(seconds, 1),
        **program.facts,
    }


def rows(
    graph: sb.Graph, tuned: sb.Graph, quantized: sb.Graph, x: Any, figures: Callable[[Any], dict[str, float]]
) -> dict[str, Any]:
    """Loss and accuracy of the three."""
    (output,) = graph.of_kind(sb.Output)
    found: dict[str, Any] = {"float": figures(sb.simulate(graph, x).outputs[output])}
    for name, lowered in (("quantized", quantized), ("fine-tuned", tuned)):
        say(f"  {name}, on the emulator")
        trace, run = emulated(lowered, x)
        found[name] = figures(trace.outputs[output]) | run
    layers = {layer.name: layer for layer in read_layers(quantized)}
    found["units"] = quantized.metadata["quantized"]["units"]
    found["changed"] = quantized.metadata["quantized"]["spikes"]
    found["neurons"] = {name: len(layer.decay) for name, layer in layers.items()}
    return found


def without_constants(graph: sb.Graph) -> sb.Graph:
    """The demo's network without the neurons that fire in every step (rectified, a threshold below 0), which no chip
    has: what they bring goes into the bias of the read-out, and no output changes but by rounding."""
    (name,), (output,) = graph.of_kind(sb.Unit), graph.of_kind(sb.Output)
    unit = graph.nodes[name]
    (weights,) = (edge.source for edge in graph.incoming[name])
    (read_out,) = (edge.source for edge in graph.incoming[output])
    always, (one, two) = unit.threshold < 0, (graph.nodes[node] for node in (weights, read_out))
    kept = {field: array[~always] if array.ndim else array for field, array in unit.arrays().items()}
    nodes = {
        **graph.nodes,
        weights: sb.Linear(one.weight[~always]),
        name: unit.replaced(**kept),
        read_out: sb.Linear(two.weight[:, ~always], two.bias + two.weight[:, always].sum(axis=1)),
    }
    return sb.Graph(nodes, graph.edges, numbers=graph.numbers, metadata=graph.metadata)


def music(path: Path, epochs: int, most: int | None) -> dict[str, Any]:
    """The demo's network on all held-out chorales."""
    graph, chorales = without_constants(sb.load(path)), load_chorales()
    training, validation, test = (part[:most] for part in (chorales.train, chorales.validation, chorales.test))

    def loss(logits: Tensor, lengths: Any) -> Tensor:
        x, steps = lengths
        per_step = functional.binary_cross_entropy_with_logits(logits[:-1], x[1:], reduction="none").sum(-1)
        return nn.mean_over_steps(per_step, steps - 1)

    def tensors(rolls: Sequence[Any]) -> tuple[Tensor, Any]:
        padded, lengths = batch(rolls)
        x = torch.from_numpy(padded).double()
        return x, (x, torch.from_numpy(lengths))

    def batches(epoch: int) -> Any:
        order = sorted(range(len(training)), key=lambda at: len(training[at]))
        parts = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
        for at in torch.randperm(len(parts), generator=torch.Generator().manual_seed(epoch)).tolist():
            yield tensors([training[one] for one in parts[at]])

    calibration, lengths = batch(training[:BATCH])
    raised = dict(graph.nodes)
    for name, unit in graph.of_kind(sb.Unit).items():
        raised[name] = unit.replaced(threshold=np.maximum(unit.threshold, LEAST_THRESHOLD))
    quantized = sb.quantize(sb.Graph(raised, graph.edges), sb.Loihi(), calibration, lengths=lengths)
    tuned, curve = fine_tuned(quantized, epochs, batches, loss, tensors(validation), nn.TanhDerivative())
    x, targets = tensors(test)
    found = rows(
        graph, tuned, quantized, x.numpy(), lambda z: {"nll": float(loss(torch.from_numpy(np.array(z)), targets))}
    )
    return found | {"validation": curve, "sequences": len(test)}


def digit_network(images: digits.Images, epochs: int, seed: int) -> sb.Graph:
    """Trained as examples/digits.py does, with as many learned decays as neurons."""
    torch.manual_seed(seed)
    sizes = [digits.PIXELS, *[digits.UNITS] * LAYERS]
    layers = [
        nn.SNU(before, after, decay=0.9, learn_decay=True, threshold=0.5, surrogate=SURROGATE)
        for before, after in itertools.pairwise(sizes)
    ]
    network = nn.Sequential(*layers, torch.nn.Dropout(digits.DROPOUT), torch.nn.Linear(digits.UNITS, digits.CLASSES))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    pixels, classes = images["train"]
    best, lowest = copy.deepcopy(network.state_dict()), np.inf
    valid = digits.spikes(images["valid"][0], seed, 0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(1, epochs + 1):
        network.train()
        x = digits.spikes(pixels, seed, epoch)
        for chosen in torch.randperm(len(classes)).split(digits.BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(network(x[:, chosen])[0].mean(0), classes[chosen]).backward()
            optimizer.step()
        schedule.step()
        network.eval()
        with torch.no_grad():
            reached = float(functional.cross_entropy(network(valid)[0].mean(0), images["valid"][1]))
        if reached < lowest:
            best, lowest = copy.deepcopy(network.state_dict()), reached
    network.load_state_dict(best)
    return nn.capture(network.eval(), (digits.PIXELS,))


def digit_figures(epochs: int, trained: int, most: int | None, seed: int = 0) -> dict[str, Any]:
    """Digits on all test images."""
    images = {split: (x[:most], y[:most]) for split, (x, y) in digits.load().items()}
    graph = digit_network(images, trained, seed)

    def loss(logits: Tensor, classes: Any) -> Tensor:
        return functional.cross_entropy(logits.mean(0), classes)

    def batches(epoch: int) -> Any:
        x, (_, classes) = digits.spikes(images["train"][0], seed, trained + epoch).double(), images["train"]
        order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(epoch))
        for chosen in order.split(digits.BATCH):
            yield x[:, chosen], classes[chosen]

    held = {split: (digits.spikes(images[split][0], seed, 0).double(), images[split][1]) for split in ("valid", "test")}
    quantized = sb.quantize(graph, sb.Loihi(), held["valid"][0].numpy())
    tuned, curve = fine_tuned(quantized, epochs, batches, loss, held["valid"], SURROGATE)
    x, classes = held["test"]

    def figures(outputs: Any) -> dict[str, float]:
        logits = torch.from_numpy(np.array(outputs)).double()
        right = float((logits.mean(0).argmax(-1) == classes).double().mean())
        return {"nll": float(loss(logits, classes)), "accuracy": right}

    return rows(graph, tuned, quantized, x.numpy(), figures) | {"validation": curve, "sequences": len(classes)}


def distinct(values: Any) -> str:
    """Those of one value, or of a list, in order."""
    return ", ".join(map(str, sorted(set(values)))) if isinstance(values, list) else str(values)


def table(results: dict[str, Any]) -> str:
    """What was found, in Markdown."""
    lines = [
        "# Trained networks in Loihi's integers",
        "",
        "`benchmarks/loihi.py`; float on the reference, the others on nengo-loihi's emulator, compared with graphs.",
        "",
        "| network | numbers | NLL | accuracy | bins compared | differing | emulator |",
        "|---|---|---|---|---|---|---|",
    ]
    for network, found in results.items():
        for name in ("float", "quantized", "fine-tuned"):
            row = found[name]
            right = f"{100 * row['accuracy']:.1f} %" if "accuracy" in row else ""
            run = f"{row['compared']:,} | {row['differing']} | {row['seconds']} s" if "compared" in row else " | |"
            lines.append(f"| {network} | {name} | {row['nll']:.4f} | {right} | {run} |")
    lines += ["", "| unit | latency | threshold | decay of 4096 | largest weight | cores | spikes changed |"]
    lines.append("|---|---|---|---|---|---|---|")
    for network, found in results.items():
        for name, unit in found["units"].items():
            changed = found["changed"][name]
            lines.append(
                f"| {network} {name} | {unit['latency']} | {unit['threshold']} | {distinct(unit['decay_of_4096'])} | "
                f"{max(unit['largest_weight'].values())} | {unit['cores']} | "
                f"{100 * changed['changed'] / changed['total']:.2f} % |"
            )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 if the emulator differs from a graph."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--net", type=Path, default=Path("out/net.safetensors"), help="left by make demo")
    parser.add_argument("--networks", default="music,digits", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=10, help="of fine-tuning (default: %(default)s)")
    parser.add_argument(
        "--training", type=int, default=30, help="epochs of the digits in floats (default: %(default)s)"
    )
    parser.add_argument("--most", type=int, help="sequences of each set at most, to try this program")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    parser.add_argument("--markdown", type=Path, help="a Markdown file to write")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for name in args.networks.split(","):
        say(name)
        if name == "music":
            results[name] = music(args.net, args.epochs, args.most)
        else:
            results[name] = digit_figures(args.epochs, args.training, args.most)
    print(table(results))
    if args.out:
        args.out.write_text(json.dumps(results, indent=2) + "\n")
    if args.markdown:
        args.markdown.write_text(table(results))
    return int(any(found[name]["differing"] for found in results.values() for name in ("quantized", "fine-tuned")))


if __name__ == "__main__":
    sys.exit(main())
