"""The trainer: both methods make the same updates, and a stream learns as a sequence does."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from itertools import repeat
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import snubridge as sb
from snubridge import nn

STEPS, SAMPLES, SIZE, UNITS, CLASSES = 15, 6, 4, 8, 3
LENGTHS = [15, 1, 9, 15, 4, 7]


def cross_entropy(prediction, target):
    return functional.cross_entropy(prediction, target, reduction="none")


def squared(prediction, target):
    return functional.mse_loss(prediction, target, reduction="none")


def trainer(
    *, method="online", update="sequence", loss=cross_entropy, dropout=0.0, optimizer=torch.optim.Adam, **options
):
    """A trainer that is the same for the same arguments, whatever its method."""
    torch.manual_seed(0)
    layer = nn.SNU(
        SIZE, UNITS, threshold=0.3, bias=True, learn_decay=True, learn_initial_state=True, **options
    ).double()
    readout = torch.nn.Sequential(torch.nn.Dropout(dropout), torch.nn.Linear(UNITS, CLASSES)).double()
    both = torch.nn.ModuleList([layer, readout])
    return nn.Trainer(layer, readout, loss, optimizer(both.parameters(), lr=0.05), method=method, update=update)


def values(made):
    return torch.cat([p.detach().flatten() for p in (*made.layer.parameters(), *made.readout.parameters())])


def sequences(count=1, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x = (torch.rand(STEPS, SAMPLES, SIZE, generator=generator) < 0.4).double()
        yield x, torch.randint(CLASSES, (STEPS, SAMPLES), generator=generator)


@pytest.mark.parametrize("lengths", [None, LENGTHS, torch.tensor(LENGTHS)])
@pytest.mark.parametrize("options", [{}, {"reset": sb.Reset.SUBTRACT}, {"h": sb.Sigmoid()}, {"dropout": 0.3}], ids=str)
def test_both_methods_make_the_same_updates(options, lengths):
    online, bptt = trainer(method="online", **options), trainer(method="bptt", **options)
    before = copy.deepcopy([*online.layer.parameters(), *online.readout.parameters()])
    for seed, (x, target) in enumerate(sequences(6)):
        losses = []
        for made in (online, bptt):
            torch.manual_seed(seed)  # of the dropout
            losses.append(made.step(x, target, lengths))
        torch.testing.assert_close(*losses, rtol=1e-9, atol=0)
        torch.testing.assert_close(values(online), values(bptt), rtol=1e-9, atol=1e-12)
    for was, now in zip(before, [*online.layer.parameters(), *online.readout.parameters()], strict=True):
        assert float((now - was).detach().abs().max()) > 1e-2


def test_the_loss_is_the_mean_over_all_that_counts():
    for loss in (cross_entropy, squared):
        for x, target in sequences():
            target = target if loss is cross_entropy else torch.randn(STEPS, SAMPLES, CLASSES, dtype=torch.float64)
            for lengths in (None, LENGTHS):
                made = trainer(loss=loss)
                with torch.no_grad():
                    y, _ = made.layer(x)
                    each = torch.stack([loss(made.readout(y_t), t) for y_t, t in zip(y, target, strict=True)])
                expected = nn.mean_over_steps(each, lengths)
                torch.testing.assert_close(made.step(x, target, lengths), expected)
                still = trainer(loss=loss, update="step")
                still.optimizer.param_groups[0]["lr"] = 0.0
                torch.testing.assert_close(still.step(x, target, lengths), expected)


@pytest.mark.parametrize(("method", "update"), [("bptt", "sequence"), ("online", "sequence"), ("online", "step")])
def test_what_stands_beyond_the_lengths_reaches_nothing(method, update):
    clean, padded = (trainer(method=method, update=update, loss=squared) for _ in range(2))
    for x, _ in sequences(2):
        target = torch.randn(STEPS, SAMPLES, CLASSES, dtype=torch.float64)
        padding = torch.arange(STEPS)[:, None] >= torch.tensor(LENGTHS)
        nan = torch.tensor(torch.nan, dtype=torch.float64)
        hurt = [torch.where(padding[..., None], nan, tensor) for tensor in (x, target)]
        assert torch.equal(clean.step(x, target, LENGTHS), padded.step(*hurt, LENGTHS))
    assert torch.equal(values(clean), values(padded))
    assert bool(torch.isfinite(values(clean)).all())


@pytest.mark.parametrize("method", ["bptt", "online"])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_batch_first_and_iterables_are_the_same_sequences(method, lengths):
    plain, turned, single = trainer(method=method), trainer(method=method, batch_first=True), trainer(method=method)
    for x, target in sequences(3):
        loss = plain.step(x, target, lengths)
        torch.testing.assert_close(turned.step(x.transpose(0, 1), target.transpose(0, 1), lengths), loss)
        assert torch.equal(single.step(iter(x), (t for t in target), lengths), loss)
    torch.testing.assert_close(values(plain), values(turned), rtol=1e-9, atol=1e-12)
    assert torch.equal(values(plain), values(single))


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_stream_learns_as_the_sequence_does(recurrent):
    whole, stream = (trainer(update="step", recurrent=recurrent) for _ in range(2))
    for x, target in sequences(3):
        stream.reset()
        assert stream.state is None
        losses = [stream.observe(x_t, target_t) for x_t, target_t in zip(x, target, strict=True)]
        assert stream.state.y.shape == (SAMPLES, UNITS)
        assert not stream.state.y.requires_grad
        torch.testing.assert_close(whole.step(x, target), torch.stack(losses).mean())
        assert torch.equal(values(whole), values(stream))


def test_a_stream_goes_on_until_it_is_reset_and_sequences_do_not_touch_it():
    on, again, disturbed = (trainer(update="step", optimizer=torch.optim.SGD) for _ in range(3))
    (x, target), (other, others) = sequences(2)
    for made in (on, again, disturbed):
        made.observe(x[0], target[0])
    again.reset()
    both = torch.nn.ModuleList([disturbed.layer, disturbed.readout])
    held, before = copy.deepcopy(both.state_dict()), values(disturbed)
    disturbed.step(other, others)
    assert not torch.equal(values(disturbed), before)
    both.load_state_dict(held)
    for made in (on, again, disturbed):
        made.observe(x[1], target[1])
    assert torch.equal(values(on), values(disturbed))
    assert not torch.equal(values(on), values(again))


def test_a_step_is_learned_by_its_own_loss():
    """The first update of a stream, by hand: the gradient of L_0 alone."""
    ((x, target),) = sequences()
    made, twin = (trainer(update="step", optimizer=torch.optim.SGD) for _ in range(2))
    loss = made.observe(x[0], target[0])
    expected = cross_entropy(twin.readout(twin.layer(x[:1])[0][0]), target[0]).mean()
    expected.backward()
    twin.optimizer.step()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(values(made), values(twin), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", ["bptt", "online"])
def test_frozen_parameters_stay(method):
    made = trainer(method=method)
    made.layer.weight.requires_grad_(False)
    made.readout[1].bias.requires_grad_(False)
    frozen = [made.layer.weight, made.readout[1].bias]
    held, before = [p.clone() for p in frozen], made.layer.bias.detach().clone()
    for x, target in sequences(3):
        made.step(x, target)
    assert all(torch.equal(p, value) for p, value in zip(frozen, held, strict=True))
    assert not torch.equal(made.layer.bias, before)


def test_a_decay_that_the_updates_push_out_of_its_range_is_the_same_for_both():
    online, bptt = (trainer(method=method, optimizer=torch.optim.SGD) for method in ("online", "bptt"))
    for made in (online, bptt):
        with torch.no_grad():
            made.layer.decay.copy_(torch.linspace(-0.2, 1.2, UNITS))
    for x, target in sequences(6):
        online.step(x, target)
        bptt.step(x, target)
    torch.testing.assert_close(values(online), values(bptt), rtol=1e-9, atol=1e-12)


def test_delayed_recall_is_learned_step_by_step():
    """One of two cues, five silent steps, a call: which cue was it?"""
    torch.manual_seed(0)
    layer = nn.SNU(3, 20, decay=0.9, threshold=0.5, learn_decay=True)
    readout = torch.nn.Linear(20, 2)
    optimizer = torch.optim.Adam([*layer.parameters(), *readout.parameters()], lr=5e-3)

    def loss(prediction, target):
        return functional.cross_entropy(prediction, target, reduction="none", ignore_index=-1)

    made = nn.Trainer(layer, readout, loss, optimizer, method="online", update="step")
    losses = []
    for _ in range(120):
        cue = torch.randint(2, (16,))
        x, target = torch.zeros(7, 16, 3), torch.full((7, 16), -1)
        x[0, torch.arange(16), cue] = 1
        x[6, :, 2] = 1
        target[6] = cue
        losses.append(7 * float(made.step(x, target)))  # the mean over seven steps, of which one can lose
    assert sum(losses[:10]) / 10 > 0.6
    assert sum(losses[-10:]) / 10 < 0.1


MEMORY = """
import json, re, torch
from snubridge import nn

torch.set_num_threads(1)
layer, readout = nn.SNU(16, 64, kernel="eager"), torch.nn.Linear(64, 2)  # compiling would take memory, too
optimizer = torch.optim.SGD([*layer.parameters(), *readout.parameters()], lr=1e-3)

def stream(steps):
    return ((torch.rand(64, 16) < 0.3).float() for _ in range(steps)), (torch.ones(64, 2) for _ in range(steps))

def megabytes(method, steps):
    loss = lambda prediction, target: (prediction - target).square()
    nn.Trainer(layer, readout, loss, optimizer, method=method).step(*stream(steps))
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024

print(json.dumps([megabytes("bptt", 3), megabytes("online", 80), megabytes("online", 800), megabytes("bptt", 800)]))
"""


def test_memory_does_not_grow_with_the_number_of_steps():
    """The largest resident size so far, in MiB, after each of four runs of one process.

    Not by ``resource``, whose figure for a new process starts with that of the one that started it.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("the largest resident size is read from /proc/self/status, which is not here")
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    _, short, long, whole = json.loads(done.stdout)
    assert long - short < 2
    assert whole - long > 50


BAD = {
    "layer": (lambda t: nn.Trainer(t.readout, t.readout, t.loss, t.optimizer), "layer: a Sequential; an nn.SNU"),
    "readout": (lambda t: nn.Trainer(t.layer, t.loss, t.loss, t.optimizer), "readout: a function; a torch module"),
    "loss": (lambda t: nn.Trainer(t.layer, t.readout, "mse", t.optimizer), "loss: a str; a function"),
    "optimizer": (lambda t: nn.Trainer(t.layer, t.readout, t.loss, 0.1), "optimizer: a float; one of torch.optim"),
    "method": (lambda t: trainer(method="rtrl"), "method='rtrl': choose from 'bptt', 'online'"),
    "update": (lambda t: trainer(update="epoch"), "update='epoch': choose from 'sequence', 'step'"),
    "steps": (lambda t: trainer(method="bptt", update="step"), "update='step' needs method='online'"),
    "lateral": (lambda t: trainer(reset=sb.Reset.LATERAL), "LATERAL .* take method='bptt'"),
    "observe": (lambda t: t.observe(torch.zeros(1, SIZE), 0), "observe needs update='step'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_refused(case):
    attempt, expected = BAD[case]
    with pytest.raises(sb.BadInput, match=expected):
        attempt(trainer())


def test_backpropagation_takes_a_lateral_reset():
    made = trainer(method="bptt", reset=sb.Reset.LATERAL)
    ((x, target),) = sequences()
    assert float(made.step(x, target)) > 0


X, TARGET = next(sequences())
UNFIT = {
    "axes": ((X[0], TARGET), r"x: shape \(6, 4\); needed \(T, B, 4\)"),
    "size": ((X[..., :3], TARGET), r"x: shape \(15, 6, 3\); needed \(T, B, 4\)"),
    "no step": ((X[:0], TARGET[:0]), r"x: shape \(0, 6, 4\); needed \(T, B, 4\), none of them 0"),
    "no step to come": ((iter([]), iter([])), "x: at least one step"),
    "number": ((X, 3), "x, target: a Tensor, a int; tensors or iterables"),
    "one target": ((X, TARGET[0]), r"target: shape \(6,\); needed an entry for each step and sample"),
    "targets": ((X, TARGET[:9]), "target: 9 steps; needed 15"),
    "list of targets": ((X, list(TARGET[:9])), "target: 9 steps; needed 15"),
    "too few targets": ((X, iter(TARGET[:9])), "target: ended before step 9"),
    "too many targets": ((X, repeat(TARGET[0])), "target: goes on after the 15 steps of x"),
    "a step": ((iter([X[0], X[1, 0]]), TARGET), r"x at step 1: shape \(4,\); needed a tensor \(B, 4\)"),
    "no tensor": ((iter([[1, 2]]), TARGET), r"x at step 0: \[1, 2\]; needed a tensor"),
    "samples": ((iter([X[0], X[1, :2]]), TARGET), r"\(2, 4\); needed a tensor \(6, 4\)"),
    "type": ((X.float(), TARGET), "x_t of type torch.float32; needed torch.float64"),
    "long": ((X, TARGET, [16] * 6), "lengths: from 16 to 16; needed 1 to 15 steps"),
    "none": ((iter(X), TARGET, [0] * 6), "lengths: from 0 to 0; needed at least 1 step"),
    "ended": ((iter(X[:9]), TARGET, LENGTHS), "lengths: up to 15; x ended after 9 steps"),
    "floats": ((X, TARGET, [1.5] * 6), "lengths: torch.float32; needed integers"),
    "target of a step": (
        (X, [TARGET[0], *[0] * 14], LENGTHS),
        r"target of a step: 0; with lengths a tensor \(6, ...\)",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_does_not_fit_is_refused_and_nothing_is_learned(case):
    arguments, expected = UNFIT[case]
    made = trainer()
    before = values(made)
    with pytest.raises(sb.BadInput, match=expected):
        made.step(*arguments)
    assert torch.equal(values(made), before)


LOSSES = {
    "scalar": (lambda p, t: functional.cross_entropy(p, t), r"loss: returned shape \(\); a value per sample"),
    "float": (lambda p, t: 0.5, "loss: returned float; a value per sample"),
    "detached": (lambda p, t: cross_entropy(p, t).detach(), "loss: no gradient leads back from it"),
}


@pytest.mark.parametrize("method", ["bptt", "online"])
@pytest.mark.parametrize("case", LOSSES)
def test_losses_that_do_not_fit_are_refused(case, method):
    loss, expected = LOSSES[case]
    ((x, target),) = sequences()
    with pytest.raises(sb.BadInput, match=expected):
        trainer(loss=loss, method=method).step(x, target)


@pytest.mark.parametrize("method", ["bptt", "online"])
def test_read_outs_that_do_not_fit_are_refused(method):
    ((x, target),) = sequences()
    made = trainer(method=method)
    for readout, expected in [
        (torch.nn.LSTM(UNITS, 2).double(), "readout: returned tuple; a tensor"),
        (torch.nn.Flatten(0), r"readout: returned shape \(48,\); a tensor \(6, ...\)"),
    ]:
        made.readout = readout
        with pytest.raises(sb.BadInput, match=expected):
            made.step(x, target)


def test_a_stream_with_another_number_of_samples_is_refused():
    made = trainer(update="step")
    ((x, target),) = sequences()
    made.observe(x[0], target[0])
    with pytest.raises(sb.BadInput, match=r"x_t: shape \(2, 4\); needed a tensor \(6, 4\)"):
        made.observe(x[1, :2], target[1, :2])
    for x_t in (torch.zeros(()), [1.0]):
        with pytest.raises(sb.BadInput, match="x_t: "):
            made.observe(x_t, target[1])
    made.reset()
    made.observe(x[1, :2], target[1, :2])
    assert len(made.state.s) == 2
