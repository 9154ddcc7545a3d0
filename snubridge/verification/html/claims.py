"""What a report claims, in sentences: how far the claim goes, and what it does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snubridge.verification.report import Report

LADDER = ("exact", "certified", "measured", "tolerance", "statistical")
"""From the highest rung down."""
SAYS: Mapping[str, tuple[str, str]] = {
    "exact": (
        "Every sum is exact in the engine's number format, so the spikes are equal for all inputs in the declared "
        "range.",
        "Nothing about engines that do not keep their stated format, and nothing about speed or energy.",
    ),
    "certified": (
        "For these inputs the spikes must be equal on every engine that fits the stated error model: rounding is too "
        "small to turn any decision.",
        "Nothing about other inputs, and nothing about an engine that does not fit the model.",
    ),
    "measured": (
        "The engines ran, and every spike of every step was compared.",
        "Nothing about other inputs, versions or machines: the claim rests on no proof, and a state close to its "
        "threshold may fall to the other side elsewhere.",
    ),
    "tolerance": (
        "Values that are not spikes lie within rounding of the reference's: 1e-5 of their scale in float32, 1e-9 in "
        "float64.",
        "Nothing about other inputs, versions or machines; and the values are close, not equal.",
    ),
    "statistical": (
        "The hardware is noisy: agreement was measured over many runs.",
        "Nothing about a single spike.",
    ),
}
"""By rung: what it says, and what it does not say."""
WORDS: Mapping[str, str] = {
    "reference": "The definition of the network, run in float64: what every engine is compared with.",
    "bin, decision": "One neuron in one step of one sample: it spikes or it does not.",
    "margin": "State minus threshold in the reference, s \u2212 threshold. A neuron spikes if it is above zero; near "
    "zero it is a close call.",
    "bound": "How far rounding may move the state in an engine that fits its error model. A decision whose margin is "
    "larger than the bound cannot be turned.",
    "certified, open": "A decision is open if its margin is within the bound, and certified if neither it nor anything "
    "that it depends on is open.",
    "root, consequence": "A difference is a root if nothing that it depends on differs; all others follow from a root.",
    "explained, bug": "A root is explained if its decision was open, so that rounding may have turned it; else it is a "
    "bug.",
    "rung": "How far a claim goes, from the highest: exact, certified, measured, tolerance, statistical.",
    "foreign, own": "Whether the engine was written by others, or by the authors of snubridge.",
}


@dataclass(frozen=True)
class Claim:
    """The page's first words: a title, one sentence, its tone, and how far it goes."""

    title: str
    sentence: str
    tone: str
    says: str | None = None
    leaves: str | None = None


def claim(report: Report) -> Claim:
    """What holds on all backends that ran: the lowest rung of their spikes."""
    ran = [row for row in report.rows if row.ran]
    names = list(dict.fromkeys(row.backend for row in ran))
    if not ran:
        return Claim("Nothing was compared", "No backend ran, so this report claims nothing.", "bad")
    if not report.equal:
        return _unequal(report, names)
    spiking = [row for row in ran if row.kind == "spikes"]
    bins = sum(row.compared for row in spiking)
    rungs = {row.rung for row in spiking or ran}
    rung = max((rung for rung in rungs if rung in LADDER), key=LADDER.index, default=None)
    what = f"all {bins:,} compared decisions on {_listed(names)} are the reference's; 0 differ"
    if not spiking:
        what = f"all values on {_listed(names)} are within tolerance of the reference's; there is no spiking unit"
    says, leaves = SAYS.get(rung or "", (None, None))
    absent = list(dict.fromkeys(row.backend for row in report.rows if not row.ran))
    apart = f" {_listed(absent)} did not run." if absent else ""
    if report.silent and spiking:
        return Claim(
            "Equal, but silent: this proves nothing",
            f"No neuron spiked. {what[:1].upper()}{what[1:]}, but a broken engine that never spikes would look the "
            f"same.{apart} Run it on inputs that make the network spike.",
            "warn",
        )
    held = {name: [b for b in names if name in _rungs(report, b)] for name in LADDER if name in rungs}
    parts = "; ".join(f"{name} on {_listed(backends)}" for name, backends in held.items() if backends)
    mixed = f" How far it goes differs: {parts}." if len(held) > 1 else ""
    return Claim(f"Equal: {rung or 'no rung'}", f"{what[:1].upper()}{what[1:]}.{mixed}{apart}", "good", says, leaves)


def _rungs(report: Report, backend: str) -> set[str | None]:
    """The rungs of a backend's spikes."""
    return {row.rung for row in report.rows if row.backend == backend and row.ran and row.kind == "spikes"}


def _unequal(report: Report, names: list[str]) -> Claim:
    worst = [row for row in report.rows if row.ran and row.verdict != "equal"]
    bins = sum(row.differing for row in worst)
    compared = sum(row.compared for row in report.rows if row.ran)
    where = list(dict.fromkeys(row.backend for row in worst))
    verdicts = {row.verdict for row in worst}
    what = f"{bins:,} of {compared:,} compared bins differ, on {_listed(where)}"
    fine = [name for name in names if name not in where]
    rest = f" Equal: {_listed(fine)}." if fine else ""
    if "bug" in verdicts:
        told = "At least one of them is a bug: no rounding within the engine's error model explains it."
        return Claim("Unequal: a bug", f"{what}. {told}{rest}", "bad")
    if verdicts == {"explained"}:
        told = (
            "Rounding explains every one: each begins at a decision that was too close to call in the engine's "
            "precision."
        )
        return Claim("Unequal, explained by rounding", f"{what}. {told}{rest} Explained is not equal.", "warn")
    return Claim("Unequal", f"{what}.{rest}", "bad")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
