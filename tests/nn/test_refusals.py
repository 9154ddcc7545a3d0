"""What capture cannot take is refused by path, with all reasons and the nearest thing that works."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.nn.functional import dropout, max_pool2d

import snubridge as sb
from snubridge import nn
from snubridge.nn.tracing.refusals import NEAREST_LAYERS


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def module_of(forward, **children):
    """A module with these children and this forward."""

    class Made(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, child in children.items():
                self.add_module(name, child)

    Made.forward = forward
    return Made()


def hooked():
    layer = nn.SNU(4, 4)
    layer.register_forward_hook(lambda module, args, result: (result[0] * 0, result[1]))
    return nn.Sequential(layer)


def root_hooked():
    net = nn.Sequential(nn.SNU(4, 4))
    net.register_forward_pre_hook(lambda module, args: args)
    return net


def network_hooked():
    network = nn.to_module(nn.capture(nn.SNU(4, 4), 4))
    network.register_forward_hook(lambda module, args, result: result)
    return network


def patched():
    net = nn.Sequential(torch.nn.Linear(4, 4))
    net[0].forward = lambda x: x * 0
    return net


def in_place():
    def forward(self, x):
        torch.nn.functional.relu(x, inplace=True)
        return self.a(x)

    return module_of(forward, a=torch.nn.Linear(4, 4))


def aliased():
    def forward(self, x):
        h = z = self.a(x)
        z += self.b(x)
        return self.a(h)

    return module_of(forward, a=torch.nn.Linear(4, 4), b=torch.nn.Linear(4, 4))


def aliased_twice():
    def forward(self, x):
        h = z = self.a(x)
        z += self.b(x)
        return self.a(h) + self.b(z)

    return module_of(forward, a=torch.nn.Linear(4, 4), b=torch.nn.Linear(4, 4))


def through_dropout():
    def forward(self, x):
        h = self.a(x)
        out = self.drop(h)
        out += self.b(x)
        return out + self.b(h)

    return module_of(forward, a=torch.nn.Linear(4, 4), b=torch.nn.Linear(4, 4), drop=torch.nn.Dropout(0.1))


def branching():
    def forward(self, x):
        return self.a(x) if isinstance(x, torch.Tensor) else self.b(x)

    return module_of(forward, a=torch.nn.Linear(4, 4), b=torch.nn.Linear(4, 4))


def vector_for_a_weight():
    net = nn.Sequential(torch.nn.Linear(4, 4))
    net[0].weight = torch.nn.Parameter(torch.zeros(4))
    return net


class OwnCall(torch.nn.Sequential):
    """A module whose ``__call__`` does more than its ``forward``."""

    def __call__(self, x):
        return super().__call__(x) + x


class Stubborn(nn.Sequential):
    """Monte-Carlo dropout: active in evaluation too."""

    def __init__(self):
        super().__init__(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5))

    def train(self, mode=True):
        super().train(mode)
        self[1].training = True
        return self


class Own(nn.SNU):
    """A layer of the user's own, whose forward may do anything."""

    def forward(self, x, state=None):
        y, state = super().forward(x, state)
        return 1 - y, state


REFUSED = {
    "max pool": (lambda: torch.nn.Sequential(torch.nn.MaxPool2d(2)), "0: a MaxPool2d .* nn.AvgPool2d"),
    "relu": (lambda: nn.Sequential(nn.SNU(4, 4), torch.nn.ReLU()), "1: a ReLU cannot be captured"),
    "lstm": (lambda: torch.nn.Sequential(torch.nn.LSTM(4, 4)), "0: a LSTM .* nn.SNU with recurrent=True"),
    "function": (lambda: module_of(lambda self, x: torch.relu(x)), "forward: relu cannot be captured; .* g=ReLU"),
    "product": (lambda: module_of(lambda self, x: x * 2), "forward: mul cannot be captured; scale the weights"),
    "constant": (lambda: module_of(lambda self, x: x + 1), "a sum with a constant"),
    "doubled": (lambda: module_of(lambda self, x: x + x), "a value added to itself"),
    "control flow": (lambda: module_of(lambda self, x: x if x.sum() > 0 else -x), "cannot be traced"),
    "two values": (lambda: module_of(lambda self, x, y: x + y), "forward takes x, y; give a dict"),
    "no value": (lambda: module_of(lambda self, x: self.a(x)[1], a=nn.SNU(4, 4)), "returns no value besides states"),
    "a size": (lambda: module_of(lambda self, x: (x, x.shape[0])), "returns a size"),
    "a reserved name": (
        lambda: module_of(lambda self, x: {"a": self.a(x)}, a=torch.nn.Linear(4, 4)),
        "'a', which is the name of a node",
    ),
    "an illegal name": (lambda: module_of(lambda self, x: {"a b": x}), "'a b', which is no legal name"),
    "a name that is no text": (lambda: module_of(lambda self, x: {1: x}), "the key 1; names are text"),
    "two under a name": (lambda: module_of(lambda self, x: {"y": (x, x)}), "2 values under 'y'"),
    "other shapes": (
        lambda: module_of(lambda self, x: x + self.a(x), a=torch.nn.Linear(4, 1)),
        "shapes \\(4,\\) and \\(1,\\)",
    ),
    "a sum with alpha": (lambda: module_of(lambda self, x: torch.add(x, x, alpha=2)), "a sum with alpha"),
    "unknown arguments": (lambda: module_of(lambda self, x: torch.add(x, x, out=x)), "with these arguments"),
    "reduced early": (
        lambda: nn.Sequential(nn.OverTime("mean"), torch.nn.Linear(4, 4)),
        "1: computes with a value that is reduced over time",
    ),
    "reduced and added": (
        lambda: module_of(lambda self, x: self.a(x) + self.a(x), a=nn.OverTime("mean")),
        "forward: computes with a value that is reduced over time",
    ),
    "a mean": (lambda: module_of(lambda self, x: x.mean(0)), "mean cannot be captured; .* nn.OverTime"),
    "the last step": (lambda: module_of(lambda self, x: x[-1]), "getitem cannot be captured; .*OverTime"),
    "a transposed value": (lambda: module_of(lambda self, x: x.transpose(0, 1)), "transpose .* batch_first"),
    "joined values": (lambda: module_of(lambda self, x: torch.cat([x, x], -1)), "cat cannot be captured; .* sum"),
    "batch first of delays": (
        lambda: nn.Sequential(nn.SNU(4, 4), nn.Delay(1, batch_first=True)),
        "differ in batch_first",
    ),
    "batch first of read-outs": (
        lambda: nn.Sequential(nn.SNU(4, 4, batch_first=True), nn.OverTime("max")),
        "differ in batch_first",
    ),
    "merged and added": (lambda: module_of(lambda self, x: x + x.flatten(0, 1)), "T, B merged"),
    "merged and returned": (lambda: module_of(lambda self, x: x.flatten(0, 1)), "returns \\(T \\* B, ...\\)"),
    "merged units": (
        lambda: module_of(lambda self, x: self.a(x.flatten(0, 1))[0], a=nn.Unit(4)),
        "a: receives \\(T \\* B, ...\\); a Unit takes \\(T, B, ...\\)",
    ),
    "parted the other way round": (
        lambda: module_of(lambda self, x: x.flatten(0, 1).unflatten(0, (x.shape[1], x.shape[0]))),
        "unflatten cannot be captured, except",
    ),
    "sizes by number": (lambda: module_of(lambda self, x: x.flatten(0, 1).reshape(8, 2, 4)), "not seen to keep steps"),
    "samples cut": (lambda: module_of(lambda self, x: x.reshape(x.shape[0], -1, 2)), "reshapes samples of \\(4,\\)"),
    "samples mixed": (lambda: torch.nn.Sequential(torch.nn.Flatten()), "0: .* would mix .* take snubridge.nn.Flatten"),
    "samples mixed by a method": (lambda: module_of(lambda self, x: x.flatten(1)), "would mix steps or samples"),
    "everything flattened": (lambda: module_of(lambda self, x: torch.flatten(x)), "would mix steps or samples"),
    "an attribute": (lambda: module_of(lambda self, x: x.T), "attribute T cannot be captured"),
    "a subclass of a delay": (
        lambda: nn.Sequential(type("Later", (nn.Delay,), {})(2)),
        "0: a Later cannot be captured; a subclass may compute anything; take nn.Delay itself",
    ),
    "lengths": (
        lambda: module_of(lambda self, x: self.a(x, [3, 4]), a=nn.OverTime("mean")),
        "a: called with lengths; .* give them to the run",
    ),
    "unknown layer": (
        lambda: module_of(lambda self, x: self.a(x), a=torch.nn.Hardshrink()),
        "take layers of snubridge.nn",
    ),
    "hook": (hooked, "0: has forward hooks"),
    "own layer": (lambda: nn.Sequential(Own(4, 4)), "0: a Own cannot be captured; a subclass may compute anything"),
    "root hook": (root_hooked, "Sequential: has forward hooks"),
    "hook on a network": (network_hooked, "Network: has forward hooks"),
    "patched forward": (patched, "0: its forward is replaced on the instance"),
    "in place": (lambda: module_of(lambda self, x: (x.mul_(2), x)[1]), "mul_ may change a value in place"),
    "in place function": (in_place, "relu may change a value in place"),
    "in place sum": (aliased, "iadd may change a value in place"),
    "in place sum in use": (aliased_twice, "\\+= changes a value that is used elsewhere"),
    "in place layer": (
        lambda: module_of(lambda self, x: (self.r(x), x)[1], r=torch.nn.ReLU(inplace=True)),
        "r may change a value in place",
    ),
    "in place sum of an alias": (through_dropout, "\\+= changes a value that is used elsewhere"),
    "branch on a type": (branching, "computes something else than what its trace shows"),
    "own call": (lambda: OwnCall(torch.nn.Linear(4, 4)), "computes something else"),
    "dropout that stays": (lambda: Stubborn(), "computes something else"),
    "meta": (lambda: nn.Sequential(torch.nn.Linear(4, 4, device="meta")), "0: is on the meta device"),
    "pair": (lambda: torch.nn.Sequential(nn.SNU(4, 4), torch.nn.Linear(4, 4)), "1: receives the pair .* nn.Sequential"),
    "shape": (lambda: nn.Sequential(torch.nn.Linear(4, 3), nn.Unit(5, learn_threshold=False)), "receives \\(3,\\)"),
    "network within": (lambda: nn.Sequential(nn.to_module(nn.capture(nn.SNU(4, 4), 4))), "capture it alone"),
    "dropout in training": (lambda: module_of(lambda self, x: dropout(x, 0.5)), "dropout cannot be captured"),
    "a default of several values": (
        lambda: module_of(lambda self, x, sizes=(1, 2): self.a(x), a=torch.nn.Linear(4, 4)),
        "forward: the default of sizes is no single value",
    ),
    "any number of values": (lambda: module_of(lambda self, x, *more: x + more[0]), "the argument \\*more cannot be"),
    "complex": (lambda: torch.nn.Linear(4, 4, dtype=torch.complex64), "unit: a parameter of type torch.complex64"),
    "a vector for a weight": (vector_for_a_weight, "0: a parameter of shape \\(4,\\); one of 2 axes"),
    "half": (lambda: nn.SNU(4, 4).half(), "call .float\\(\\) or .double\\(\\)"),
    "mixed": (lambda: nn.Sequential(nn.SNU(4, 4), nn.SNU(4, 4).double()), "several or unknown types"),
    "batch first": (lambda: nn.Sequential(nn.SNU(4, 4), nn.SNU(4, 4, batch_first=True)), "differ in batch_first"),
    "in place sum of a view": (
        lambda: module_of(
            lambda self, x: (lambda h, v: v.__iadd__(self.b(x)) + h.reshape(h.shape[0], h.shape[1], -1))(
                *(lambda h: (h, h.reshape(h.shape[0], h.shape[1], -1)))(self.a(x))
            ),
            a=torch.nn.Linear(4, 4),
            b=torch.nn.Linear(4, 4),
        ),
        "\\+= changes a value that is used elsewhere",
    ),
    "in place layer of a known name": (
        lambda: module_of(lambda self, x: (self.flatten(x), x)[1], flatten=torch.nn.ReLU(inplace=True)),
        "flatten may change a value in place",
    ),
    "given state": (
        lambda: module_of(lambda self, x: self.b(x, self.a(x)[1]), a=nn.SNU(4, 4), b=nn.SNU(4, 4)),
        "b: called with a given state",
    ),
}


IMAGES_REFUSED = {
    "max pool": (lambda: nn.Sequential(nn.Conv2d(2, 2, 3), torch.nn.MaxPool2d(2)), "1: a MaxPool2d .* nn.AvgPool2d"),
    "max pool of a function": (
        lambda: module_of(lambda self, x: max_pool2d(x.flatten(0, 1), 2)),
        "max_pool2d .* nn.AvgPool2d",
    ),
    "adaptive pool": (
        lambda: torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1)),
        "0: a AdaptiveAvgPool2d .* nn.AvgPool2d",
    ),
    "other padding": (lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), "unit: padding_mode='circular'"),
    "uneven padding": (lambda: nn.Conv2d(2, 2, (3, 4), padding="same"), "unit: padding='same' pads one side more"),
    "ceil mode": (lambda: nn.AvgPool2d(2, ceil_mode=True), "unit: ceil_mode=True"),
    "padding not counted": (lambda: nn.AvgPool2d(2, padding=1, count_include_pad=False), "count_include_pad=False"),
    "another divisor": (lambda: nn.AvgPool2d(2, divisor_override=3), "divisor_override=3 .* nn.SumPool2d"),
    "torch's convolution alone": (
        lambda: module_of(lambda self, x: self.a(x), a=torch.nn.Conv2d(2, 2, 3)),
        "a: a torch.nn.Conv2d would take T or B for another axis; take nn.Conv2d",
    ),
    "ours on merged axes": (
        lambda: module_of(lambda self, x: self.a(x.flatten(0, 1)).unflatten(0, x.shape[:2]), a=nn.Conv2d(2, 2, 3)),
        "a: receives \\(T \\* B, ...\\); a Conv2d takes",
    ),
    "a subclass": (
        lambda: nn.Sequential(type("Mine", (nn.Conv2d,), {})(2, 2, 3)),
        "0: a Mine cannot be captured; a subclass may compute anything; take nn.Conv2d itself",
    ),
    "some axes": (lambda: module_of(lambda self, x: x.flatten(3)), "flattens some axes of a sample"),
    "some axes by a layer": (lambda: nn.Sequential(torch.nn.Flatten(2, 3)), "0: flattens some axes of a sample"),
    "axes that are not there": (lambda: nn.Sequential(torch.nn.Flatten(6)), "0: flattens the axes 6 to -1 of 5"),
    "transposed convolution": (lambda: torch.nn.Sequential(torch.nn.ConvTranspose2d(2, 2, 3)), "nn.Conv2d"),
    "layer norm": (lambda: nn.Sequential(torch.nn.LayerNorm(5)), "0: a LayerNorm .* nn.BatchNorm1d or nn.BatchNorm2d"),
    "a unit of another shape": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Unit((3, 3, 4))),
        "receives \\(3, 3, 3\\)",
    ),
}


@pytest.mark.parametrize("case", IMAGES_REFUSED)
def test_what_cannot_be_taken_of_images_is_refused_by_path(case):
    build, expected = IMAGES_REFUSED[case]
    with pytest.raises(sb.Unsupported, match=expected):
        nn.capture(build(), (2, 5, 5))


@pytest.mark.parametrize(
    "name", sorted(NEAREST_LAYERS.keys() - {"Network", "ParametrizedLinear", "ParametrizedConv2d"})
)
def test_every_layer_that_is_named_exists_and_is_refused_with_its_remedy(name):
    layer = object.__new__(getattr(torch.nn, name))
    torch.nn.Module.__init__(layer)
    with pytest.raises(sb.Unsupported) as caught:
        nn.capture(torch.nn.Sequential(layer), (2, 5, 5))
    assert caught.value.reasons == (f"0: a {name} cannot be captured; {NEAREST_LAYERS[name]}",)


def test_a_parametrized_layer_is_refused_with_its_remedy():
    net = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 4)))
    with pytest.raises(sb.Unsupported, match=r"0: a ParametrizedLinear .* call .*remove_parametrizations"):
        nn.capture(net, 4)
    torch.nn.utils.parametrize.remove_parametrizations(net[0], "weight")
    assert list(nn.capture(net, 4).nodes) == ["input", "0", "output"]


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_is_refused_by_path(case):
    build, expected = REFUSED[case]
    with pytest.raises(sb.Unsupported, match=expected):
        nn.capture(build(), (4,))


def test_global_hooks_are_refused():
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, args, result: None)
    try:
        with pytest.raises(sb.Unsupported, match="global forward hooks"):
            nn.capture(nn.SNU(4, 4), 4)
    finally:
        handle.remove()


def test_every_reason_comes_at_once_of_images_too():
    net = nn.Sequential(
        torch.nn.ReLU(),
        nn.Conv2d(2, 2, (3, 4), padding="same", padding_mode="reflect"),
        torch.nn.MaxPool2d(2),
        nn.AvgPool2d(2, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.BatchNorm2d(2, track_running_stats=False),
    )
    net = module_of(lambda self, x: (self.net(x), self.small(x)), net=net, small=nn.AvgPool2d(9))
    with pytest.raises(sb.Unsupported) as caught:
        nn.capture(net, (2, 5, 5))
    assert [reason.split(":")[0] for reason in caught.value.reasons] == [
        *("net.0", "net.1", "net.1", "net.2", "net.3", "net.3", "net.4"),
        "node small",
    ]


def test_every_reason_comes_at_once():
    net = nn.Sequential(torch.nn.ReLU(), nn.SNU(4, 4), torch.nn.Tanh(), nn.SNU(4, 4), torch.nn.GRU(4, 4))
    with pytest.raises(sb.Unsupported) as caught:
        nn.capture(net, 4)
    assert [reason.split(":")[0] for reason in caught.value.reasons] == ["0", "2", "4"]


def test_a_wrong_input_shape_is_an_invalid_graph():
    with pytest.raises(sb.InvalidGraph, match="a last axis of 4"):
        nn.capture(nn.SNU(4, 4), 5)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("stride", (0, 1), "node 0, stride: "),
        ("groups", 0, "node 0, groups: "),
        ("dilation", "ab", "node 0, dilation: "),
    ],
)
def test_settings_that_make_no_sense_are_an_invalid_graph(field, value, expected):
    conv = nn.Conv2d(2, 2, 3)
    setattr(conv, field, value)
    with pytest.raises(sb.InvalidGraph, match=expected):
        nn.capture(nn.Sequential(conv), (2, 5, 5))


def test_a_convolution_of_another_image_is_an_invalid_graph():
    with pytest.raises(sb.InvalidGraph, match=r"node 0: .*one sample of shape \(3, height, width\)"):
        nn.capture(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Unit(4)), (2, 5, 5))


@pytest.mark.parametrize("shape", [0, -1, (), (4, 0), (2.0,), "4", None, (True,), {}, {"x": 0}, {1: 4}])
def test_an_input_shape_that_is_none_is_refused(shape):
    with pytest.raises(sb.BadInput, match="input_shape"):
        nn.capture(nn.SNU(4, 4), shape)


def test_something_else_than_a_module_is_refused():
    with pytest.raises(sb.BadInput, match="takes a torch module"):
        nn.capture("net", 5)


def test_a_silent_unit_does_not_hide_what_the_trace_missed():
    """Inputs of the usual size would not make it fire, and zeros agree with anything."""

    def scaled(self, x):
        if isinstance(x, torch.Tensor):
            x = x / 4
        return self.a(x)

    with pytest.raises(sb.Unsupported, match="computes something else than what its trace shows"):
        nn.capture(module_of(scaled, a=nn.SNU(4, 4, threshold=60.0)), 4)
    graph = nn.capture(module_of(lambda self, x: self.a(x), a=nn.SNU(4, 4, threshold=60.0)), 4)
    assert "untried" not in graph.metadata


def test_units_that_nothing_wakes_are_named():
    dead = nn.SNU(4, 4, threshold=1.0)
    torch.nn.init.zeros_(dead.weight)
    graph = nn.capture(nn.Sequential(nn.SNU(4, 4, threshold=0.2), dead), 4)
    assert graph.metadata["untried"] == ["1"]


def test_compiled_modules_and_states_as_inputs_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates it, and users still have such modules
        compiled = torch.jit.trace(torch.nn.Linear(4, 4), torch.zeros(1, 4), check_trace=False)
    with pytest.raises(sb.Unsupported, match=r"torch\.jit"):
        nn.capture(compiled, 4)
    with pytest.raises(sb.BadInput, match="a layer alone takes one input"):
        nn.capture(nn.SNU(3, 3), {"x": 3, "state": 3})
