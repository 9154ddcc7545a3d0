"""The demo from end to end: train on chorales, capture, export to every engine, compare every spike."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snubridge import nn
from snubridge.bridge.lowering import export
from snubridge.demo.chorales import KEYS, batch, load_chorales
from snubridge.demo.training import Trained, train
from snubridge.exactness import smallest_margin
from snubridge.ir.file import save, write_atomically
from snubridge.ir.graph import Graph
from snubridge.reference.archive import write_array
from snubridge.verification.pictures import draw_rasters
from snubridge.verification.report import Report
from snubridge.verification.verifier import Verification, verify_traces

ARTEFACTS = {"brian2": "net_brian2.py", "nengo": "net_nengo.py", "onnx": "net.onnx", "pcm": "chip.pcm"}
"""What each engine's export is called in the demo's folder."""
FLOAT64: dict[str, tuple[str, dict[str, Any]]] = {
    "brian2": ("brian2", {}),
    "nengo": ("nengo", {}),
    "onnx": ("onnx", {"precision": "float64"}),
    "pcm": ("pcm", {}),
    "torch": ("torch", {"precision": "float64"}),
}
"""The claim: all engines in float64, where rounding lies far below the smallest margin."""
FLOAT32: dict[str, tuple[str, dict[str, Any]]] = {"onnx": ("onnx", {}), "torch": ("torch", {})}
"""Shown beside it: the same in the network's own float32, where a spike may flip at a near-tie."""


@dataclass(frozen=True)
class Demo:
    """What the demo found; ``report`` is the claim, ``float32`` is shown beside it."""

    report: Report
    float32: Report
    trained: Trained
    chorales: int
    devices: int
    margin: float

    def document(self) -> dict[str, Any]:
        """The report as JSON, with the demo's own figures."""
        return self.report.document() | {
            "devices": self.devices,
            "smallest_margin": self.margin,
            "training": {
                "best_epoch": self.trained.epoch,
                "validation_nll": self.trained.validation_nll,
                "test_nll": self.trained.test_nll,
                "nll": "nats, summed over the 88 notes, mean over all predicted steps of the held-out chorales",
                "chorales": self.chorales,
            },
            "float32": self.float32.document(),
        }

    def to_text(self) -> str:
        """The table, and what to know about it."""
        return "\n".join(
            [
                f"88-150-88, trained on {self.chorales} Bach chorales; held-out negative log-likelihood "
                f"{self.trained.test_nll:.2f} nats (summed over the 88 notes, mean over steps)",
                "",
                self.report.to_text(),
                "",
                f"In the network's own float32 (the smallest margin of any decision is {self.margin:.1e}): "
                + self.float32.summary(),
                f"PCM devices: {self.devices:,} = 2 x (88 x 150 + 150 x 88), two for each weight",
            ]
        )


def run(
    out: Path,
    *,
    epochs: int,
    samples: int,
    seed: int,
    say: Callable[[str], None] = lambda what: None,
    trained: Callable[[int, float], None] = lambda epoch, nll: None,
    progress: bool = False,
) -> Demo:
    """Do all of it, and leave the graph, every artefact, the report (JSON and HTML) and ``spikes.png`` in ``out``.

    ``samples``: how many held-out chorales run on the engines. ``say`` is told what begins,
    ``trained`` each epoch and its validation figure; ``progress`` shows the parsing's.
    """
    say("parsing Bach chorales from music21's corpus (kept in your cache folder afterwards)")
    chorales = load_chorales(progress=progress)
    say(f"training 88-150-88 on {len(chorales.train)} chorales, {epochs} epochs")
    best = train(chorales.train, chorales.validation, chorales.test, epochs=epochs, seed=seed, progress=trained)
    graph = nn.capture(best.network, (KEYS,))
    inputs, lengths = batch(chorales.test[:samples])
    say(f"running {samples} held-out chorales on {', '.join(FLOAT64)}")
    verification = verify_traces(graph, inputs, FLOAT64, lengths=lengths, progress=lambda label: say(f"  {label}"))
    float32 = verify_traces(graph, inputs, FLOAT32, lengths=lengths).report
    demo = Demo(
        report=verification.report,
        float32=float32,
        trained=best,
        chorales=len(chorales.train),
        devices=int(verification.report.facts["pcm"]["devices"]),
        margin=smallest_margin(graph, verification.expected),
    )
    say(f"writing {out}/")
    _write(out, graph, inputs, lengths, demo, verification)
    return demo


def _write(out: Path, graph: Graph, inputs: Any, lengths: Any, demo: Demo, verification: Verification) -> None:
    save(graph, out / "net.safetensors")
    for backend, name in ARTEFACTS.items():
        export(graph, backend).save(out / name)
    for name, array in (("inputs.npy", inputs), ("lengths.npy", lengths)):
        write_array(out / name, array)
    write_atomically(out / "report.json", (json.dumps(demo.document(), indent=2, allow_nan=False) + "\n").encode())
    verification.report.to_html(out / "report.html")
    draw_rasters(
        out / "spikes.png",
        roll=inputs[: lengths[0], 0],
        expected=verification.expected,
        traces=verification.traces,
        unit="0",
        sample=0,
        title="One held-out chorale, 150 spiking neurons, five engines",
    )
