"""What a GPU recorded, run again on every engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import snubridge as sb

ENGINES = {
    "brian2": ("brian2", {}),
    "nengo": ("nengo", {}),
    "onnx float32": ("onnx", {"precision": "float32"}),
    "onnx float64": ("onnx", {"precision": "float64"}),
    "pcm": ("pcm", {}),
    "torch float32": ("torch", {"precision": "float32"}),
    "torch float64": ("torch", {"precision": "float64"}),
}


def differing(folder: Path) -> dict[str, int]:
    """The bins in which each engine, and the reference, differ from the recorded spikes; some neuron has spiked."""
    graph = sb.load(folder / "net.safetensors")
    with np.load(folder / "spikes.npz") as stored:
        lengths = stored["lengths"]
        (unit,) = graph.of_kind(sb.Unit)
        units = graph.nodes[unit].threshold.size
        spikes = np.unpackbits(stored["spikes"], axis=-1, count=units).astype(float)
        inputs = np.unpackbits(stored["inputs"], axis=-1, count=88).astype(float)
    inside = (np.arange(len(inputs))[:, None] < lengths)[..., None]
    assert (spikes * inside).sum() > 100
    found = {"reference": sb.simulate(graph, inputs, lengths=lengths).spikes[unit]}
    for label, (name, options) in ENGINES.items():
        program = sb.export(graph, name, **options)
        found[label] = program.run(inputs, lengths=lengths).spikes[unit]
    return {label: int(((values != spikes) & inside).sum()) for label, values in found.items()}
