"""Wrong semantics, injected into copies of adapters: the suite catches each one and names the idea that it breaks.

A mutant is the source of an adapter's computing module with each substitution made exactly once.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch.nn.functional as functional
from snubridge_torch import TorchAdapter

import snubridge as sb
from snubridge.bridge.conformance import ZOO, AdapterConformance
from snubridge.bridge.conformance.families import Family
from snubridge.bridge.script import pair

EXAMPLE = Path(__file__).parents[2] / "examples/plain_numpy/plain_numpy.py"
FAMILIES: tuple[Family, ...] = ("dyadic", "generic")
Substitutions = dict[str, str]

PLAIN: dict[str, Substitutions] = {
    "reset one step late": {
        "(s[name][t - 1], y[name][t - 1]) if t": "(s[name][t - 1], y[name][t - 2] if t > 1 else 0 * drive) if t"
    },
    "soft reset": {"decay * (s * (1 - y)),": "decay * s - threshold * y,"},
    ">= for >": {"else s > threshold": "else s >= threshold"},
    "> for >=": {"s >= threshold if h.at_threshold else s > threshold": "s > threshold"},
    "latency per layer": {
        "received = self.graph.nodes[name], self.graph.incoming[name]": "received = self.graph.nodes[name], ["
        "type(e)(e.source, e.target, e.delay + isinstance(self.graph.nodes[e.source], Unit))"
        " for e in self.graph.incoming[name]]"
    },
    "decay on the input": {"*before) + drive)": "*before) + decay * drive)"},
    "lateral maximum over the batch": {"y.max(tuple(range(1, y.ndim)), keepdims=True)": "y.max()"},
    "initial state 1": {"np.broadcast_to(initial, drive.shape)": "np.ones(drive.shape)"},
    "inputs one step early": {"array.astype(float) for name": "np.roll(array, -1, 0).astype(float) for name"},
    "a bias does not wait": {"else np.zeros_like(y[e.source][0])": "else y[e.source][0] * 0 + BIAS(self.graph, e)"},
    "delays one step short": {"t - e.delay] if t >= e.delay": "t - max(e.delay - 1, 0)] if t >= e.delay"},
    "the reset of step 0 counts": {
        "drive.shape), 0 * drive)": "drive.shape), 1.0 * (initial > threshold) + 0 * drive)"
    },
    "g on the drive alone": {
        "G[type(node.g)](node.g, CARRIED[node.reset](decay, threshold, *before) + drive)": "("
        "CARRIED[node.reset](decay, threshold, *before) + G[type(node.g)](node.g, drive))"
    },
    "lengths do not count": {"run.lengths.reshape(": "(0 * run.lengths + run.steps).reshape("},
    "float32 parameters": {"node.weight.astype(float)": 'node.weight.astype("float32")'},
    "weights the other way round": {"x @ node.weight.astype(float).T": "x @ TURNED(node.weight.astype(float)).T"},
    "flatten column by column": {"x.reshape(len(x), -1)": 'x.reshape(len(x), -1, order="F")'},
}
PLAIN_NAMES = """

def BIAS(graph, edge):
    bias = graph.nodes[edge.source].arrays().get("bias")
    return 0 if bias is None else bias


def TURNED(weight):
    return weight.T if weight.shape[0] == weight.shape[1] else weight
"""

TWIN: dict[str, Substitutions] = {
    "reset one step late": {
        "        carried = self.carried(": '        y, self.older = self.y, getattr(self, "older", 0 * self.y)\n'
        "        carried = self.carried(",
        "self.decay, self.threshold, self.s, self.y)": "self.decay, self.threshold, self.s, self.older)",
        "        self.y = H[": "        self.older = y\n        self.y = H[",
    },
    "soft reset": {"decay * (s * (1.0 - y))": "decay * (s - threshold * y)"},
    ">= for >": {"else s > threshold": "else s >= threshold"},
    "latency per layer": {
        "    past = _delay_lines(hardware, samples)\n": """
    neurons = {entry["node"] for entry in hardware["neurons"]}
    delayed = [{**r, "delay_steps": r["delay_steps"] + (r["from"] in neurons)} for r in hardware["routing"]]
    routes = {name: [r for r in delayed if r["to"] == name] for name in elements}
    past = _delay_lines({**hardware, "routing": delayed}, samples)
"""
    },
    "decay on the input": {"carried + drive)": "carried + self.decay * drive)"},
    "lateral maximum over the batch": {"axis=1)": "axis=1) * 0 + y.max()"},
    "no rounding": {"](carried / step) * step": "](carried / step) * 0 + carried"},
    "zero for floor": {'"floor": np.floor': '"floor": np.fix'},
    "no saturation": {"np.minimum(np.maximum(self.s, ": "np.minimum(np.maximum(self.s, 99 * "},
    "wraps around": {
        'np.minimum(np.maximum(self.s, self.grid["low"]), self.grid["high"])': '(self.s - self.grid["low"]) % '
        '(self.grid["high"] - self.grid["low"] + step) + self.grid["low"]'
    },
    "initial state 1": {'arrays[entry["initial_state"]]': "np.float64(1)"},
    "inputs one step early": {"inputs[name][t].astype": "inputs[name][min(t + 1, steps - 1)].astype"},
    "lengths do not count": {"steps < lengths)": "steps < 0 * lengths + lengths.max())"},
    "delays one step long": {
        "    past = _delay_lines(hardware, samples)\n": """
    delayed = [{**r, "delay_steps": r["delay_steps"] + (r["delay_steps"] > 0)} for r in hardware["routing"]]
    routes = {name: [r for r in delayed if r["to"] == name] for name in elements}
    past = _delay_lines({**hardware, "routing": delayed}, samples)
"""
    },
}

NENGO: dict[str, Substitutions] = {
    "soft reset": {"times(s, less(1, y, out), out), out),": "s, out) - threshold * y,"},
    ">= for >": {"else s > threshold": "else s >= threshold"},
    "latency per layer": {
        "        origin, synapse = ": "        delay += isinstance(self.ports[source].source, nengo.ensemble.Neurons)\n"
        "        origin, synapse = "
    },
    "decay on the input": {"carried + J)": "carried + decay * J)"},
    "initial state 1": {
        '{"s": np.tile(arrays[f"initial_state/{name}"],': '{"s": np.tile(0 * arrays[f"initial_state/{name}"] + 1,'
    },
    "inputs one step early": {"row = round(t / dt) - 1": "row = round(t / dt)"},
    "a bias does not wait": {"0, bias), delay)": "0, bias), 0)"},
    "floor for zero": {'"zero": np.trunc': '"zero": np.floor'},
    "the drive is rounded too": {
        "steps = np.ldexp(carried, ": "steps = np.ldexp(carried + J, ",
        "(g, carried + J)": "(g, carried + J * (not grid))",
    },
    "saturation before g": {
        "carried + J)": 'np.clip(carried + J, grid["low"], grid["high"]) if grid else carried + J)',
        's[...] = np.clip(s, grid["low"], grid["high"])': "pass",
    },
    "saturation at the same magnitude on both sides": {'grid["low"], grid["high"])': '-grid["high"], grid["high"])'},
}


def mutated(path: Path, substitutions: Substitutions, folder: Path, more: str = "") -> types.ModuleType:
    """A copy of the module at ``path``, in ``folder`` under a name of its own, each substitution made exactly once."""
    source = path.read_text()
    for old, new in substitutions.items():
        assert source.count(old) == 1, f"{old!r} is {source.count(old)} times in {path.name}: mend the mutation"
        source = source.replace(old, new)
    copy = folder / f"mutant_{path.name}"
    copy.write_text(source + more)
    spec = importlib.util.spec_from_file_location(copy.stem, copy)
    module = importlib.util.module_from_spec(spec)
    sys.modules[copy.stem] = module  # where dataclasses look for their module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[copy.stem]
    return module


def joined_engine(folder: Path) -> Path:
    """The modules of Nengo's engine in one, as an exported script has them."""
    whole = folder / "engine.py"
    whole.write_text("\n\n".join(pair.sources(importlib.import_module("snubridge_nengo.engine"))))
    return whole


def suite_for(adapter: sb.Adapter, suffix: str) -> AdapterConformance:
    """The suite for an adapter at hand, with whatever it refuses declared."""
    suite = AdapterConformance()
    suite.adapter, suite.suffix, suite.least = adapter, suffix, 0
    suite.refused = frozenset(case.name for case in ZOO if adapter.support.reasons(case.graph))
    return suite


def zoo_catches(adapter: sb.Adapter, suffix: str, folder: Path) -> list[str]:
    """The cases of the zoo on which the adapter fails."""
    suite = suite_for(adapter, suffix)
    return list(failing({case.name: functools.partial(suite.test_zoo, case, folder) for case in ZOO}))


def random_catches(adapter: sb.Adapter, suffix: str) -> list[str]:
    """The tests of random graphs on which it fails."""
    suite = suite_for(adapter, suffix)
    families = {family: functools.partial(suite.test_random_graphs_spike_alike, family) for family in FAMILIES}
    return list(failing({**families, "whole space": lambda: suite.test_the_whole_space(lambda name, value: None)}))


def failing(tests: Mapping[str, Callable[[], None]]) -> Iterator[str]:
    """The names of those that an assertion ends; any other exception is a fault of the mutation."""
    for name, test in tests.items():
        try:
            test()
        except AssertionError:
            yield name


@pytest.fixture
def plain(tmp_path):
    """The example's adapter, of a mutated copy of its module."""
    return lambda substitutions: mutated(EXAMPLE, substitutions, tmp_path, PLAIN_NAMES).PlainAdapter()


@pytest.fixture
def pcm(tmp_path, monkeypatch):
    """The PCM adapter on a mutated copy of its twin."""
    adapter = importlib.import_module("snubridge_pcm.adapter")
    twin = Path(adapter.twin.__file__)

    def made(substitutions: Substitutions) -> sb.Adapter:
        monkeypatch.setattr(adapter, "twin", mutated(twin, substitutions, tmp_path))
        return adapter.PcmAdapter()

    return made


@pytest.fixture
def nengo(tmp_path, monkeypatch):
    """The Nengo adapter on a mutated copy of its engine."""
    package = importlib.import_module("snubridge_nengo")

    def made(substitutions: Substitutions) -> sb.Adapter:
        monkeypatch.setattr(package, "engine", mutated(joined_engine(tmp_path), substitutions, tmp_path))
        return package.NengoAdapter()

    return made


def test_the_copies_pass_unchanged(plain, pcm, nengo, tmp_path):
    assert random_catches(plain({}), ".safetensors") == []
    assert zoo_catches(plain({}), ".safetensors", tmp_path) == []
    assert zoo_catches(pcm({}), ".pcm", tmp_path) == []
    assert zoo_catches(nengo({}), ".py", tmp_path) == []


@pytest.mark.parametrize("mutation", PLAIN)
def test_a_wrong_example_is_caught(mutation, plain, tmp_path):
    adapter = plain(PLAIN[mutation])
    by_idea, by_chance = zoo_catches(adapter, ".safetensors", tmp_path), random_catches(adapter, ".safetensors")
    print(f"{mutation}: {', '.join([*by_idea, *by_chance])}")
    assert by_idea
    assert "whole space" in by_chance


@pytest.mark.parametrize("mutation", TWIN)
def test_a_wrong_twin_is_caught(mutation, pcm, tmp_path):
    caught = zoo_catches(pcm(TWIN[mutation]), ".pcm", tmp_path)
    print(f"{mutation}: {', '.join(caught)}")
    assert caught


@pytest.mark.parametrize("mutation", NENGO)
def test_a_wrong_nengo_engine_is_caught(mutation, nengo, tmp_path):
    caught = zoo_catches(nengo(NENGO[mutation]), ".py", tmp_path)
    print(f"{mutation}: {', '.join(caught)}")
    assert caught


CONV, AVG = functional.conv2d, functional.avg_pool2d
WINDOWS = {
    "padding is not counted": ("avg_pool2d", lambda *a, **k: AVG(*a, **{"count_include_pad": False, **k})),
    "kernels are flipped": ("conv2d", lambda x, w, *a: CONV(x, w.flip(-1, -2), *a)),
    "padding on one side": (
        "conv2d",
        lambda x, w, b, stride, pad, *a: CONV(functional.pad(x, (2 * pad[1], 0, 2 * pad[0], 0)), w, b, stride, 0, *a),
    ),
    "biases are forgotten": ("conv2d", lambda x, w, b, *a: CONV(x, w, None, *a)),
    "groups are interleaved": (
        "conv2d",
        lambda x, w, b, *a: CONV(x, w, b, *a).unflatten(-3, (a[-1], -1)).transpose(-3, -4).flatten(-4, -3),
    ),
}


@pytest.mark.parametrize("mutation", WINDOWS)
def test_wrong_windows_are_caught(mutation, tmp_path, monkeypatch):
    name, wrong = WINDOWS[mutation]
    monkeypatch.setattr(functional, name, wrong)
    caught = zoo_catches(TorchAdapter(), ".safetensors", tmp_path)
    print(f"{mutation}: {', '.join(caught)}")
    assert caught
