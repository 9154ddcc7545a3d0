"""What is no graph of networks written by hand: refused, with every reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snubridge as sb
from tests.adapters.handwritten.networks import GROUP, brian2, plain, single

ms = brian2.ms


def refusals(objects: Any, **options: Any) -> tuple[str, ...]:
    with pytest.raises(sb.Unsupported) as refusal:
        sb.import_graph(objects, "brian2", **options)
    assert refusal.value.engine == "brian2"
    return refusal.value.reasons


GROUPS: dict[str, tuple[str, str, str, dict[str, Any], str]] = {
    "conductances": (
        "dv/dt = (g - v)/(9*ms) : 1\ndg/dt = -g/(5*ms) : 1",
        *GROUP[1:],
        {},
        "2 state variables, g, v; a ",
    ),
    "noise": ("dv/dt = -v/(9*ms) + xi*ms**-0.5 : 1", *GROUP[1:], {"method": "euler"}, "its equations hold noise, xi; "),
    "a stimulus": ("dv/dt = (I(t) - v)/(9*ms) : 1", *GROUP[1:], {}, r"I\(\) is called; only exp, of a constant"),
    "not linear": ("dv/dt = (v**2 - v)/(9*ms) : 1", *GROUP[1:], {"method": "euler"}, "does not decay; only dv/dt ="),
    "clipped": ("dv/dt = -clip(v, 0, 1)/(9*ms) : 1", *GROUP[1:], {"method": "euler"}, "does not decay; only dv/dt ="),
    "growth": ("dv/dt = v/(9*ms) : 1", *GROUP[1:], {}, "in a step the state is multiplied by 1.06 to 1.06; a positive"),
    "long steps": ("dv/dt = -v/(0.4*ms) : 1", *GROUP[1:], {"method": "euler"}, "multiplied by -0.25 to -0.25; a pos"),
    "an unknown": ("dv/dt = -v/tau : 1", *GROUP[1:], {}, "tau is not in the namespace of group; pass what Network.run"),
    "a moving threshold": (
        *GROUP[:2],
        "v > 1 + t/second",
        {},
        "t is nothing that stays as it is during a run; only co",
    ),
    "another variable": ("v : 1\nu : 1", "v = 0", "v > u*v", {}, "v is nothing that stays as it is during a run; only"),
    "two conditions": (*GROUP[:2], "v > 1 and v < 3", {}, "its threshold is 'v > 1 and v < 3'; write v > a constant"),
    "below": (*GROUP[:2], "v < 1", {}, "its threshold is 'v < 1'; write v > a constant, or v >= a constant"),
    "a call": (*GROUP[:2], "v > abs(-1)", {}, r"abs\(\) is called; only exp, of a constant, can be carried over"),
    "refractory": (*GROUP, {"refractory": 3 * ms}, "it is refractory for 3. \\* msecond; leave refractory out"),
    "two resets": (
        GROUP[0],
        "v = 0; v += 1",
        GROUP[2],
        {},
        "its reset is 'v = 0; v \\+= 1'; write v = a constant, or ",
    ),
    "halved": (GROUP[0], "v *= 0.5", GROUP[2], {}, "its reset is 'v \\*= 0.5'; write v = a constant, or v -= a co"),
    "random reset": (GROUP[0], "v = rand()", GROUP[2], {}, r"rand\(\) is no constant expression; write sums"),
    "an event": (*GROUP, {"events": {"low": "v < -1"}}, "it has the event low; only spikes can be carried over"),
    "float32": (*GROUP, {"dtype": np.float32}, "v is no float64 of each neuron; leave out 'shared', and dtype"),
    "a linked variable": ("dv/dt = -v/(9*ms) : 1\nu : 1 (linked)", *GROUP[1:], {}, "u is linked to another group; mak"),
    "firing at rest": (*GROUP[:2], "v > -1", {}, "it starts above its threshold; start it below"),
    "code to be evaluated": (*GROUP[:2], "v > __import__('os').getpid()", {}, r"\(\) is no constant expression; write"),
}


@pytest.mark.parametrize("case", GROUPS)
def test_groups_that_are_no_units(case: str) -> None:
    model, reset, threshold, options, reason = GROUPS[case]
    namespace = {"I": brian2.TimedArray([0.0, 1.0], dt=1 * ms)} if "I(" in model else {}
    objects, *_ = single(model, reset, threshold, **{"method": "exact", "namespace": namespace, **options})
    reasons = refusals(objects)
    assert any(text.startswith("group group: ") for text in reasons)
    assert any(re.search(reason, text) for text in reasons), reasons


def weigh(on_pre: str, model: str = "w : 1", delay: Any = None, **options: Any) -> Callable[[Any, Any], Any]:
    """Synapses onto the group, one to each."""

    def synapses(stimulus: Any, group: Any) -> Any:
        found = brian2.Synapses(stimulus, group, model, on_pre=on_pre, delay=delay, name="odd", **options)
        found.connect(i=0, j=np.arange(len(group)))
        return found

    return synapses


def not_connected(stimulus: Any, group: Any) -> Any:
    return brian2.Synapses(stimulus, group, on_pre="v += 1", name="odd")


def twice(stimulus: Any, group: Any) -> Any:
    synapses = weigh("v += 1", "")(stimulus, group)
    synapses.connect(i=0, j=2)
    return synapses


def off(stimulus: Any, group: Any) -> Any:
    synapses = weigh("v += 1", "")(stimulus, group)
    synapses.active = False
    return synapses


def half_off(stimulus: Any, group: Any) -> Any:
    synapses = weigh("v += 1", "")(stimulus, group)
    synapses.pre.active = False
    return synapses


def infinite(stimulus: Any, group: Any) -> Any:
    synapses = weigh("v += w")(stimulus, group)
    synapses.w = np.inf
    return synapses


def regularly(stimulus: Any, group: Any) -> Any:
    synapses = weigh("v += w")(stimulus, group)
    synapses.run_regularly("w = 0.99*w")
    return synapses


def before_the_update(stimulus: Any, group: Any) -> Any:
    stimulus.when = "start"
    synapses = weigh("v += w")(stimulus, group)
    synapses.pre.when = "before_groups"
    return synapses


def another_window(stimulus: Any, group: Any) -> Any:
    synapses = weigh("v += w")(stimulus, group)
    synapses.pre.when = "before_thresholds"
    return synapses


STDP = "dApre/dt = -Apre/(20*ms) : 1 (event-driven)\nw : 1"
SYNAPSES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "plasticity": (
        weigh("v += w", on_post="w = clip(w + 0.01, 0, 1)"),
        "odd_post acts on on_post, plasticity; only on_p",
    ),
    "event-driven": (
        weigh("v += w\nApre += 0.1", STDP),
        r"its variable Apre \(event-driven\) follows an equation; only p",
    ),
    "summed": (
        weigh("v += 1", "u_post = 0.1 : 1 (summed)"),
        r"its variable u_post \(summed\) follows an equation; only",
    ),
    "clock-driven": (
        weigh("v += g", "dg/dt = -g/(5*ms) : 1 (clock-driven)"),
        r"variable g \(clock-driven\) follows an eq",
    ),
    "another variable": (
        weigh("u_post += 1", ""),
        "on_pre is 'u_post \\+= 1'; write v_post \\+= a parameter or constant",
    ),
    "integers beyond 32 bits": (
        weigh("v_post += w*(100000*100000)"),
        "100000 \\* 100000 leaves the integers of 32 bits; write its numbers as floats",
    ),
    "an integer of its own beyond 32 bits": (
        weigh("v_post += k*k*1e-13", "", namespace={"k": 70000}),
        "k \\* k leaves the integers",
    ),
    "a negative power of an integer": (weigh("v_post += w*2**-1"), "2 \\*\\* \\(-1\\) leaves the integers"),
    "a large integer": (
        weigh("v_post += w*10000000000"),
        "10000000000 is an integer beyond 32 bits; write it as a float",
    ),
    "set": (weigh("v_post = 1", ""), "on_pre is 'v_post = 1'; write v_post \\+= a parameter"),
    "random weights": (weigh("v_post += rand()", ""), r"rand\(\) is no constant expression"),
    "the state": (weigh("v_post += 0.1*v_post", ""), "v_post is nothing that stays as it is during a run"),
    "two statements": (weigh("v_post += w; w *= 0.9"), "on_pre is 'v_post \\+= w; w \\*= 0.9'; write"),
    "half a step": (
        weigh("v += 1", "", delay=1.3 * ms),
        "its delays are no whole steps, and Brian2 would round them; gi",
    ),
    "not connected": (not_connected, "it was never connected; call connect, or leave it out"),
    "twice": (twice, "two synapses of one delay join the same neurons; make them one, with the sum of weights"),
    "off": (off, "odd: is switched off; set active = True, or leave it out"),
    "half off": (half_off, "odd_pre: is switched off; set active = True, or leave it out"),
    "infinite": (infinite, "its weights are not finite; give finite weights"),
    "regularly": (regularly, "odd_run_regularly runs in every step"),
    "two windows": (
        another_window,
        "spikes reach it in several windows of a step, after its threshold and after its up",
    ),
    "too early": (before_the_update, "odd acts before its update on spikes of the same step; let its sources fire"),
}


@pytest.mark.parametrize("case", SYNAPSES)
def test_synapses_that_are_no_matrices(case: str) -> None:
    make, reason = SYNAPSES[case]
    objects, _, (group,) = single("dv/dt = -v/(9*ms) : 1\nu : 1", "v = 0", "v > 1", method="exact")
    odd = make(objects[0], group)
    if case == "too early":
        del objects[2:]
    reasons = refusals([*objects, odd])
    assert any(re.search(reason, text) for text in reasons), reasons


def assert_refused(objects: Any, *reasons: str, **options: Any) -> None:
    """These are all the reasons."""
    found = refusals(objects, **options)
    assert len(found) == len(reasons), found
    for text, reason in zip(found, reasons, strict=True):
        assert text.startswith(reason), text


def test_every_reason_is_told_at_once() -> None:
    objects, _, (group,) = single("dv/dt = -v/tau : 1", "v *= 0.5", "v < 1", method="exact", refractory=1 * ms)
    group.run_regularly("v = v + rand()")
    group.namespace["tau"] = 9 * ms
    objects += [weigh("w_post += 1", "")(objects[0], group), brian2.PoissonInput(group, "v", 10, 5 * brian2.Hz, 0.1)]
    network = brian2.Network(*objects)
    assert_refused(
        network,
        f"{objects[-1].name}: a PoissonInput has no counterpart in a graph; leave it out, or name a group in inputs",
        "group group: it is refractory for 1. * msecond; leave refractory out",
        "group group: group_run_regularly runs in every step ('v = v + rand()'); leave it out",
        "group group: its threshold is 'v < 1'; write v > a constant, or v >= a constant",
        "group group: its reset is 'v *= 0.5'; write v = a constant, or v -= a constant",
        "synapses odd: on_pre is 'w_post += 1'; write v_post += a parameter or constant, and nothing else",
    )


def test_networks_that_are_no_graphs() -> None:
    assert_refused([], "network: holds no groups of neurons; pass brian2.Network(group, synapses, ...) or a list")
    generator, group, *synapses = plain()
    assert_refused([generator, group], "group group: nothing leads to it; connect it, or name it in inputs=")
    assert_refused([group, synapses[1]], "network: nothing in it fires by itself, and a graph has an input; add")
    assert_refused(
        [group, *synapses], "network: nothing in it", f"synapses {synapses[0].name}: its source stimulus is not"
    )
    assert_refused(
        [generator, synapses[0]], "network: holds no", f"synapses {synapses[0].name}: its target group is not"
    )
    objects = plain()
    assert_refused(objects, "inputs: no group is called 'x'; name groups of the network", inputs=["x"])
    assert_refused(objects, "network: holds no groups", *["synapses"] * 2, inputs=["group"])
    timed = brian2.SpikeGeneratorGroup(3, [], [] * ms, dt=1 * ms, name="slow")
    assert_refused([*objects, timed], "network: several time steps (")
    assert_refused([*objects, brian2.NetworkOperation(lambda: None)], "networkoperation: a NetworkOperation has no")
    matrix = (
        "synapses {}: a matrix of 10 x {} weights is above the limit of 5; raise it with the option max_synapses={}"
    )
    names = [thing.name for thing in objects[2:]]
    assert_refused(objects, matrix.format(names[0], 8, 80), matrix.format(names[1], 10, 100), max_synapses=5)
    silent = brian2.NeuronGroup(3, "v : 1", name="silent")
    assert_refused([*objects, silent], "group silent: it has no threshold; give it one, or leave it out")
    assert_refused([*objects, silent], "group silent: it is named as an input, and never fires", inputs=["silent"])
    reordered = plain()
    reordered[1].state_updater.when = "end"
    assert_refused(reordered, "group group: its update, threshold and reset are not in this order within a step")
    ran = brian2.Network(*plain())
    ran.run(1 * ms)
    assert refusals(ran)[0] == "network: it ran until 0.001 s; build it anew, and read it before it runs"


def test_standalone_mode_is_refused() -> None:
    objects = plain()
    brian2.set_device("cpp_standalone", build_on_run=False)
    try:
        assert_refused(objects, "network: Brian2 is in standalone mode; brian2.set_device('runtime') goes back")
    finally:
        brian2.set_device("runtime")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"namespace": 3}, "namespace=3; give a mapping"),
        ({"inputs": "group"}, "inputs='group'; give a list of the names"),
        ({"inputs": [3]}, "inputs=.3.; give a list of the names"),
        ({"max_synapses": 0}, "max_synapses=0; needed a whole number"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(sb.BadInput, match=problem):
        sb.import_graph(plain(), "brian2", **options)


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    for source in (3, [3], {"group": 1}, brian2.NeuronGroup):
        with pytest.raises(sb.BadInput, match=r"give the path of an exported script, a brian2\.Network, or a list of"):
            sb.import_graph(source, "brian2")
    unit = sb.Graph({"in": sb.Input((1,)), "unit": sb.Unit([0.5], 1.0)}, [sb.Edge("in", "unit")])
    native = sb.export(unit, "brian2").native
    with pytest.raises(sb.BadInput, match="namespace and inputs are for networks written by hand"):
        sb.import_graph(native, "brian2", namespace={})
    with pytest.raises(sb.BadInput, match="namespace and inputs are for networks written by hand"):
        sb.import_graph(tmp_path / "net.py", "brian2", inputs=["unit"])


@pytest.mark.parametrize("part", ["R.pre", "thresholder", "resetter", "state_updater"])
def test_a_clock_of_an_inner_part_counts(part: str) -> None:
    """Brian2 runs each part on its own clock, whatever its owner's is."""
    objects = plain()
    group, recurrent = objects[1], objects[3]
    inner = {
        "R.pre": recurrent.pre,
        "thresholder": group.thresholder["spike"],
        "resetter": group.resetter["spike"],
        "state_updater": group.state_updater,
    }[part]
    inner._clock = brian2.Clock(1 * ms)
    (reason,) = refusals(objects)
    assert reason.startswith("network: several time steps (")
    assert f"{inner.name} 0.001 s" in reason


def test_a_list_of_objects_that_ran_is_refused() -> None:
    objects = plain()
    brian2.Network(*objects).run(1 * ms)
    assert_refused(objects, "objects: stimulus ran already; build them anew, and read them before they run")


@pytest.mark.parametrize("where", ["group", "run"])
def test_an_array_is_no_constant(where: str) -> None:
    level = {"level": np.array([1.0, 2.0])}
    own: dict[str, Any] = {"namespace": level} if where == "group" else {}
    objects, *_ = single(*GROUP[:2], "v > level", method="exact", **own)
    (reason,) = refusals(objects, **({} if own else {"namespace": level}))
    assert reason.startswith(
        "group group: level is an array of shape (2,), which Brian2 takes for no constant; make it"
    )
