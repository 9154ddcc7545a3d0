"""Random forwards out of all pieces that can be captured: the graph computes what the module computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import snubridge as sb
from snubridge import nn

RESETS, GS = list(sb.Reset), [sb.Identity(), sb.ReLU(), sb.LeakyReLU(0.25)]
HS = [sb.Step(), sb.Step(), sb.Step(), sb.Step(at_threshold=True), sb.Sigmoid(), sb.Tanh()]


def evaluated(module, inputs, batch_first=False):
    """What a module returns in evaluation, by output name: time-major arrays, and whether each is over time."""
    module.eval()
    with torch.no_grad():
        given = {name: x.transpose(0, 1) if batch_first else x for name, x in inputs.items()}
        returned = module(**given)
    return {
        name: y.transpose(0, 1) if batch_first and not name.startswith("over_") else y for name, y in returned.items()
    }


def compare(module, graph, inputs, batch_first=False):
    """Spikes are equal and values close, where no state comes too near to its threshold; how many spikes there were.

    None if one does: there rounding decides, in float32.
    """
    single = graph.numbers == sb.Float32()
    trace = sb.simulate(graph, {name: x.numpy() for name, x in inputs.items()}, record=("spikes", "states"))
    units = {name: unit for name, unit in graph.of_kind(sb.Unit).items() if unit.spiking}
    margins = [np.abs(trace.states[name] - unit.threshold).min() for name, unit in units.items()]
    if single and min(margins, default=1) < 1e-5:
        return None
    found = evaluated(module, inputs, batch_first)
    assert found.keys() == trace.outputs.keys()
    for name, y in found.items():
        expected = trace.outputs[name]
        if name in {f"y_{unit.replace('.', '_')}" for unit in units}:
            np.testing.assert_array_equal(y.numpy(), expected)
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=(1e-5 if single else 1e-9) * scale)
    return sum(int(spikes.sum()) for name, spikes in trace.spikes.items() if name in units)


class RandomNet(torch.nn.Module):
    """A forward that a seed decides: images or vectors, resets, g, h, pools, norms, skips, delays, two inputs.

    It returns a dict: ``y_<path>`` is what each unit puts out.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.batch_first = bool(self.rng.random() < 0.3)
        self.images = bool(self.rng.random() < 0.7)
        self.shape = (int(self.rng.integers(1, 3)), 6, 6) if self.images else (int(self.rng.integers(2, 6)),)
        self.plan: list[tuple[str, ...]] = []
        shape = self.shape
        for stage in range(int(self.rng.integers(1, 4))):
            shape = self._image(stage, shape) if len(shape) == 3 else self._dense(stage, shape[0])
            if len(shape) == 3 and (stage == 1 or self.rng.random() < 0.3):
                self.plan.append((str(self.rng.choice(["flatten", "layer", "reshape"])),))
                shape = (int(np.prod(shape)),)
        self.plan += [] if len(shape) == 1 else [("flatten",)]
        self.readout = torch.nn.Linear(int(np.prod(shape)), 3)
        self.flat = nn.Flatten() if self.rng.random() < 0.5 else torch.nn.Flatten(2)
        self.side = torch.nn.Linear(2, 3) if self.rng.random() < 0.4 else None
        self.late = nn.Delay(int(self.rng.integers(1, 4)), self.batch_first)
        self.over = nn.OverTime(str(self.rng.choice(["mean", "sum", "max", "last"])), self.batch_first)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                parameter.data.add_(0.3 * parameter.abs().mean())  # more spikes
        for module in self.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    module.weight.data.uniform_(0.5, 1.5)
                    module.bias.data.uniform_(-0.2, 0.4)

    def input_shapes(self):
        return {"x": self.shape, **({} if self.side is None else {"side": 2})}

    def inputs(self, dtype, steps=12, samples=3):
        generator = torch.Generator().manual_seed(int(self.rng.integers(1 << 30)))
        draw = {name: (shape,) if isinstance(shape, int) else shape for name, shape in self.input_shapes().items()}
        return {n: torch.randn(steps, samples, *s, generator=generator).to(dtype) for n, s in draw.items()}

    def _options(self, shape):
        h = HS[self.rng.integers(len(HS))]
        reset = RESETS[self.rng.integers(len(RESETS))]
        if self.rng.random() < 0.1:
            h, reset = sb.Identity(), sb.Reset.NONE
        sizes = [() if self.rng.random() < 0.5 else shape for _ in range(3)]
        return {
            "decay": self.rng.uniform(0.2, 0.95, sizes[0]),
            "threshold": self.rng.uniform(0.1, 0.6, sizes[1]),
            "initial_state": self.rng.normal(0.2, 0.4, sizes[2]),
            "learn_initial_state": bool(self.rng.random() < 0.3),
            "learn_decay": bool(self.rng.random() < 0.3),
            "reset": reset,
            "g": GS[self.rng.integers(len(GS))],
            "h": h,
            "batch_first": self.batch_first,
        }

    def _image(self, stage, shape):
        channels, size = int(self.rng.integers(1, 4)), shape[1]
        kernel = min(size, int(self.rng.integers(1, 4)))
        groups = shape[0] if self.rng.random() < 0.3 else 1
        out, even = channels * groups, kernel % 2
        padding = ["same" if even else 0, "valid", kernel // 2][self.rng.integers(3)]
        options = {"bias": bool(self.rng.random() < 0.5), "groups": groups, "padding": padding}
        ours = bool(self.rng.random() < 0.5)
        self.add_module(f"conv{stage}", (nn.Conv2d if ours else torch.nn.Conv2d)(shape[0], out, kernel, **options))
        norm = bool(self.rng.random() < 0.5)
        if norm:
            kind = nn.BatchNorm2d if ours else torch.nn.BatchNorm2d
            self.add_module(f"norm{stage}", kind(out, affine=bool(self.rng.random() < 0.7)))
        grown = {"same": 0, "valid": 1 - kernel}.get(padding) if isinstance(padding, str) else 2 * padding + 1 - kernel
        size += grown
        self.plan.append(("conv" if ours else "merged", str(stage), "norm" if norm else "", ""))
        if (out, size) == (shape[0], shape[1]) and self.rng.random() < 0.8:
            self.plan.append(("skip", str(stage)))
            self.add_module(
                f"skip{stage}", nn.Delay(2, self.batch_first) if self.rng.random() < 0.6 else torch.nn.Identity()
            )
        self.add_module(f"unit{stage}", nn.Unit((out, size, size), **self._options((out, size, size))))
        self.plan.append(("unit", str(stage)))
        if size >= 4 and self.rng.random() < 0.6:
            pool = [nn.AvgPool2d(2, padding=1), nn.SumPool2d((2, 2), 1), nn.AvgPool2d(2), nn.SumPool2d(2)]
            chosen = pool[self.rng.integers(4)]
            self.add_module(f"pool{stage}", chosen)
            self.plan.append(("layer_of", f"pool{stage}"))
            size = chosen(torch.zeros(1, 1, 1, size, size)).shape[-1]
        return (out, size, size)

    def _dense(self, stage, width):
        out = int(self.rng.integers(2, 6))
        if self.rng.random() < 0.5:
            recurrent, bias = (bool(self.rng.random() < 0.5) for _ in range(2))
            layer = nn.SNU(width, out, recurrent=recurrent, bias=bias, **self._options((out,)))
            self.add_module(f"unit{stage}", layer)
        else:
            self.add_module(f"dense{stage}", torch.nn.Linear(width, out, bias=bool(self.rng.random() < 0.5)))
            self.plan.append(("layer_of", f"dense{stage}"))
            if self.rng.random() < 0.5:
                self.add_module(f"norm{stage}", nn.BatchNorm1d(out))
                self.plan.append(("layer_of", f"norm{stage}"))
            self.add_module(f"unit{stage}", nn.Unit(out, **self._options((out,))))
        self.plan.append(("unit", str(stage)))
        if self.rng.random() < 0.4:
            self.add_module(f"delay{stage}", nn.Delay(int(self.rng.integers(1, 4)), self.batch_first))
            self.plan.append(("delay", f"delay{stage}"))
        if self.rng.random() < 0.4:
            self.add_module(f"drop{stage}", torch.nn.Dropout(0.5))
            self.plan.append(("layer_of", f"drop{stage}"))
        return (out,)

    def forward(self, x, side=None):
        first, second = x.shape[:2]
        before, spikes = x, {}
        for what, *rest in self.plan:
            if what == "conv":
                before, x = x, getattr(self, f"conv{rest[0]}")(x)
                x = getattr(self, f"norm{rest[0]}")(x) if rest[1] else x
            elif what == "merged":
                before, x = x, getattr(self, f"conv{rest[0]}")(x.flatten(0, 1))
                x = getattr(self, f"norm{rest[0]}")(x) if rest[1] else x
                x = x.unflatten(0, (first, second))
            elif what == "skip":
                skip = getattr(self, f"skip{rest[0]}")(before)
                x = x + (skip[0] if isinstance(getattr(self, f"skip{rest[0]}"), nn.Delay) else skip)
            elif what == "unit":
                x, _ = getattr(self, f"unit{rest[0]}")(x)
                spikes[f"y_unit{rest[0]}"] = x
            elif what == "delay":
                x, _ = getattr(self, rest[0])(x)
            elif what == "layer_of":
                x = getattr(self, rest[0])(x)
            else:
                x = {
                    "flatten": lambda x: x.flatten(2),
                    "layer": self.flat,
                    "reshape": lambda x: x.reshape(first, second, -1),
                }[what](x)
        y = self.readout(x)
        if self.side is not None:
            y = y + self.late(self.side(side))[0]
        return {**spikes, "result": y, "later": self.late(y)[0], f"over_{self.over.how}": self.over(y)}


def captured(seed, dtype):
    torch.manual_seed(seed)
    net = RandomNet(seed).to(dtype)
    graph = nn.capture(net, net.input_shapes())
    return net, graph, compare(net, graph, net.inputs(dtype), net.batch_first)


@pytest.mark.parametrize("seed", range(60))
def test_a_random_module_is_captured_exactly(seed):
    net, graph, spikes = captured(seed, torch.float64)
    assert graph.numbers == sb.Float64()
    assert spikes is not None
    assert nn.capture(nn.to_module(graph), net.input_shapes()) == graph


def test_random_modules_in_float32_wherever_rounding_does_not_decide():
    found = [captured(seed, torch.float32)[2] for seed in range(60, 100)]
    compared = [spikes for spikes in found if spikes is not None]
    assert len(compared) >= 36
    assert sum(compared) > 5000


def test_the_random_modules_have_all_there_is():
    """The sweep above is worth something only as long as every piece occurs in it."""
    graphs = [nn.capture(net, net.input_shapes()) for net in map(RandomNet, range(60))]
    nodes = [node for graph in graphs for node in graph.nodes.values()]
    units = [node for node in nodes if isinstance(node, sb.Unit)]
    kinds = {sb.Input, sb.Linear, sb.Conv2d, sb.AvgPool2d, sb.SumPool2d, sb.Flatten, sb.Unit, sb.Output}
    assert {type(node) for node in nodes} == kinds
    assert {unit.reset for unit in units} == set(RESETS)
    assert {unit.g for unit in units} == set(GS)
    assert {unit.h for unit in units} == {*HS, sb.Identity()}
    assert {node.over_time for node in nodes if isinstance(node, sb.Output)} == {None, "mean", "sum", "max", "last"}
    assert sum(len(graph.metadata.get("folded", ())) for graph in graphs) > 20
    assert sum(edge.delay > 1 for graph in graphs for edge in graph.edges) > 20
    assert sum(unit.initial_state.any() for unit in units) == len(units)
    assert sum(len(graph.of_kind(sb.Input)) == 2 for graph in graphs) > 10
