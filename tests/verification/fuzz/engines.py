"""Engines to find fault with: the plain-numpy example with wrong semantics or no manners, installed in a folder."""

from __future__ import annotations

from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples/plain_numpy/plain_numpy.py"
MUTATIONS: dict[str, dict[str, str]] = {
    "soft reset": {"decay * (s * (1 - y)),": "decay * s - threshold * y,"},
    ">= for >": {"else s > threshold": "else s >= threshold"},
    "reset one step late": {
        "(s[name][t - 1], y[name][t - 1]) if t": "(s[name][t - 1], y[name][t - 2] if t > 1 else 0 * drive) if t"
    },
    "latency per layer": {
        "received = self.graph.nodes[name], self.graph.incoming[name]": "received = self.graph.nodes[name], ["
        "type(e)(e.source, e.target, e.delay + isinstance(self.graph.nodes[e.source], Unit))"
        " for e in self.graph.incoming[name]]"
    },
    "lateral maximum over the batch": {"y.max(tuple(range(1, y.ndim)), keepdims=True)": "y.max()"},
    "delays one step short": {"t - e.delay] if t >= e.delay": "t - max(e.delay - 1, 0)] if t >= e.delay"},
    "float32 parameters": {"node.weight.astype(float)": 'node.weight.astype("float32")'},
    "a read-out that is off": {"Output: lambda node, x: x,": "Output: lambda node, x: x * 1.001,"},
    "an error of its own": {"outputs = {}": 'outputs = {"a" + 1: 0} if len(self.graph.edges) > 3 else {}'},
    "death": {"outputs = {}": "outputs = {} if len(self.graph.edges) <= 3 else __import__('os').kill(0 + PID(), 9)"},
    "no end": {"outputs = {}": "outputs = {}\n        while len(self.graph.edges) > 6: pass"},
}
NAMES = """

def PID():
    import os

    return os.getpid()
"""


def install(folder: Path, mutation: str | None) -> Path:
    """An adapter called ``plain`` in ``folder``, found by its entry point where ``folder`` is on the path."""
    source = EXAMPLE.read_text()
    for old, new in MUTATIONS[mutation].items() if mutation else ():
        assert source.count(old) == 1, f"{old!r} is {source.count(old)} times in {EXAMPLE.name}: mend the mutation"
        source = source.replace(old, new)
    (folder / "mutant_plain.py").write_text(source + NAMES)
    facts = folder / "mutant_plain-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mutant-plain\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[snubridge.adapters]\nplain = mutant_plain:PlainAdapter\n")
    return folder
