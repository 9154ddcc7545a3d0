"""The layers: their meaning, their states, their gradients."""

from __future__ import annotations

import pytest
import torch

import snubridge as sb
from snubridge import nn
from snubridge.nn.surrogates import spike

SURROGATES = [
    nn.TanhDerivative(),
    nn.SigmoidDerivative(),
    nn.ArctanDerivative(),
    nn.PiecewiseLinear(),
    nn.SuperSpike(),
]


def test_a_layer_by_hand():
    layer = nn.SNU(1, 1, decay=0.5)
    torch.nn.init.ones_(layer.weight)
    y, state = layer(torch.tensor([0.75, 0.75, 0.0, 1.0]).reshape(4, 1, 1))
    assert y.flatten().tolist() == [0, 1, 0, 0]
    assert state.s.item() == 1.0
    assert state.y.item() == 0.0


@pytest.mark.parametrize("recurrent", [False, True])
def test_states_thread_through_pieces(recurrent):
    torch.manual_seed(0)
    layer = nn.SNU(5, 7, recurrent=recurrent, threshold=0.3)
    x = torch.randn(20, 3, 5)
    whole, last = layer(x)
    first, state = layer(x[:8])
    second, end = layer(x[8:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end.s, last.s)
    assert not state.detach().s.requires_grad


def test_batch_first_only_turns_the_axes():
    torch.manual_seed(0)
    layer = nn.SNU(5, 7, threshold=0.3)
    twin = nn.SNU(5, 7, batch_first=True)
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(20, 3, 5)
    assert torch.equal(layer(x)[0], twin(x.transpose(0, 1))[0].transpose(0, 1))


def test_sequential_threads_states():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.SNU(4, 6, threshold=0.2), torch.nn.Dropout(0.5), nn.SNU(6, 3, recurrent=True), torch.nn.Linear(3, 2)
    )
    net.eval()
    x = torch.randn(12, 2, 4)
    whole, states = net(x)
    assert [s is None for s in states] == [False, True, False, True]
    _, between = net(x[:5])
    rest, _ = net(x[5:], between)
    torch.testing.assert_close(rest, whole[5:])
    with pytest.raises(sb.BadInput, match="1 entries for 4 layers"):
        net(x, (None,))


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: type(s).__name__)
def test_the_surrogate_is_the_gradient_and_never_the_output(surrogate):
    v = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    y = spike(v, surrogate)
    assert torch.equal(y, (v > 0).double())
    y.sum().backward()
    assert torch.equal(v.grad, surrogate.gradient(v.detach()))
    assert float(surrogate.gradient(torch.zeros(()))) == pytest.approx(1.0)


def test_gradients_flow_through_the_reset():
    """Backward of two steps, worked out: y1 depends on s0 through the carried state and through the reset."""
    layer = nn.Unit(1, decay=0.5, learn_threshold=False).double()
    x = torch.tensor([1.5, 0.2], dtype=torch.float64).reshape(2, 1, 1).requires_grad_()
    y, _ = layer(x)
    y[1].sum().backward()
    s0, surrogate = 1.5, lambda v: 1 - torch.tanh(torch.tensor(v, dtype=torch.float64)) ** 2
    s1 = 0.5 * s0 * (1 - 1.0) + 0.2
    through = 0.5 * ((1 - 1.0) - s0 * surrogate(s0 - 1.0))
    torch.testing.assert_close(x.grad.flatten(), torch.stack([surrogate(s1 - 1.0) * through, surrogate(s1 - 1.0)]))


@pytest.mark.parametrize("reset", list(sb.Reset))
def test_soft_units_pass_gradcheck(reset):
    torch.manual_seed(0)
    layer = nn.SNU(3, 2, h=sb.Sigmoid(), reset=reset, recurrent=True, bias=True, learn_decay=True).double()
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    parameters = list(layer.parameters())
    assert torch.autograd.gradcheck(lambda x, *p: layer(x)[0], (x, *parameters))


def test_a_learned_decay_is_clamped():
    layer = nn.SNU(2, 3, learn_decay=True)
    torch.nn.init.constant_(layer.decay, 1.5)
    assert layer.effective_decay.tolist() == [1, 1, 1]
    assert nn.capture(layer, 2).nodes["unit"].decay.tolist() == [1, 1, 1]


def test_the_kernel_stands_in_the_repr():
    assert "kernel=cpu" in repr(nn.SNU(2, 3))
    assert "kernel=eager" in repr(nn.SNU(2, 3, kernel="eager"))


BAD = {
    "detached": ({"detach_reset": "no"}, "detach_reset='no': True or False is needed"),
    "kernel": ({"kernel": "cuda"}, "choose from 'auto', 'eager'"),
    "decay": ({"decay": 1.5}, "values in \\[0, 1\\]"),
    "threshold shape": ({"threshold": [1.0, 2.0]}, "one value or one per neuron"),
    "threshold": ({"threshold": float("nan")}, "not finite"),
    "initial state": ({"initial_state": [1.0, 2.0]}, "initial_state: shape \\(2,\\); one value or one per neuron"),
    "initial state infinite": ({"initial_state": float("inf")}, "initial_state: values that are not finite"),
    "decay text": ({"decay": "a"}, "numbers are needed"),
    "surrogate class": ({"surrogate": nn.SuperSpike}, "an object with gradient"),
    "surrogate function": ({"surrogate": torch.sigmoid}, "an object with gradient"),
    "reset": ({"reset": "zero"}, "a member of snubridge.Reset"),
    "g": ({"g": torch.relu}, "Identity\\(\\), ReLU\\(\\)"),
    "h": ({"h": sb.Step}, "Step\\(\\), Sigmoid\\(\\)"),
    "integrator": ({"h": sb.Identity()}, "needs reset=Reset.NONE"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_refused(case):
    options, expected = BAD[case]
    with pytest.raises(sb.BadInput, match=expected):
        nn.SNU(2, 3, **options)


def test_bad_inputs_are_refused():
    layer = nn.SNU(2, 3)
    for x in (torch.zeros(4, 2), torch.zeros(4, 1, 3), torch.zeros(0, 1, 2)):
        with pytest.raises(sb.BadInput, match="x: shape"):
            layer(x)
    with pytest.raises(sb.BadInput, match="state: s"):
        layer(torch.zeros(4, 2, 2), nn.State(torch.zeros(1, 3), torch.zeros(1, 3)))
    with pytest.raises(sb.BadInput, match="shape=0"):
        nn.Unit(0)


def test_a_decay_beyond_its_range_can_come_back():
    layer = nn.SNU(2, 3, learn_decay=True)
    decay = torch.tensor([1.5, 1.5, -0.5], requires_grad=True)
    (nn.kernels.clamped(decay) * torch.tensor([1.0, -1.0, -1.0])).sum().backward()
    assert decay.grad.tolist() == [1, 0, -1]
    assert layer.effective_decay.tolist() == [pytest.approx(0.8)] * 3


def test_a_layer_may_stand_twice_in_a_chain():
    dropout, shared = torch.nn.Dropout(0.1), nn.SNU(4, 4, threshold=0.2)
    net = nn.Sequential(shared, dropout, shared, dropout).eval()
    assert len(net) == 4
    assert net[2] is shared
    y, states = net(torch.rand(9, 2, 4))
    assert y.shape == (9, 2, 4)
    assert len(states) == 4


def test_what_returns_a_tuple_cannot_stand_in_a_chain():
    net = nn.Sequential(torch.nn.LSTM(4, 4), nn.SNU(4, 4))
    with pytest.raises(sb.BadInput, match="layer 0, a LSTM, returns a tuple"):
        net(torch.rand(3, 2, 4))


def test_functional_gradients_work():
    layer = nn.SNU(3, 2, threshold=0.2)
    parameters = dict(layer.named_parameters())
    x = torch.rand(5, 2, 3)

    def loss(parameters):
        return torch.func.functional_call(layer, {**parameters, "decay": layer.decay}, (x,))[0].sum()

    layer(x)[0].sum().backward()
    for name, gradient in torch.func.grad(loss)(parameters).items():
        torch.testing.assert_close(gradient, parameters[name].grad)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("value", [0.4, [0.1, -0.2, 0.3]])
def test_a_run_starts_from_the_initial_state(learned, value):
    layer = nn.SNU(2, 3, decay=0.5, initial_state=value, learn_initial_state=learned)
    assert isinstance(layer.initial_state, torch.nn.Parameter) is learned
    assert layer.initial_state.shape == ((3,) if learned or isinstance(value, list) else ())
    x = torch.randn(4, 5, 2)
    _, state = layer(x[:1])
    carried = 0.5 * torch.tensor(value).expand(5, 3)  # y before the start is 0: nothing is reset
    torch.testing.assert_close(state.s, carried + torch.nn.functional.linear(x[0], layer.weight))
    start = layer.rest(5)
    assert not start.y.any()
    assert torch.equal(layer(x, start)[0], layer(x)[0])
    rested, _ = nn.Sequential(layer)(x)
    assert torch.equal(rested, layer(x)[0])


@pytest.mark.parametrize("reset", list(sb.Reset))
def test_the_initial_state_is_learned(reset):
    torch.manual_seed(0)
    layer = nn.Unit((2, 3), h=sb.Tanh(), reset=reset, initial_state=0.3, learn_initial_state=True).double()
    x = torch.randn(3, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *p: layer(x)[0], (x, *layer.parameters()))
    layer(x)[0][0].sum().backward()
    assert bool((layer.initial_state.grad != 0).all())


@pytest.mark.parametrize("layer", [nn.SNU(2, 3), nn.Unit(2)])
def test_what_is_no_sequence_of_real_numbers_is_refused(layer):
    x = torch.zeros(4, 1, 2)
    for given, message in ((None, "x: a NoneType"), ([1], "x: a list"), (x + 0j, "real numbers are needed")):
        with pytest.raises(sb.BadInput, match=message):
            layer(given)
    with pytest.raises(sb.BadInput, match=r"needed nn.State\(s, y\)"):
        layer(x, (x[0], x[0], x[0]))
