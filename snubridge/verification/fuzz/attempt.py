"""One graph on one backend, in this process."""

from __future__ import annotations

import re
import time
from dataclasses import replace

from snubridge.bridge.adapter import Adapter
from snubridge.bridge.conformance.cases import Case
from snubridge.bridge.lowering import lower
from snubridge.errors import BadInput, SnubridgeError, Unsupported, one_line
from snubridge.verification.fuzz.judgment import judge, why_unclaimed
from snubridge.verification.fuzz.outcome import Outcome
from snubridge.verification.fuzz.targets import Target

LONGEST = 400
"""Characters of a reason."""
_ADDRESS = re.compile("0x[0-9a-f]{6,16}")  # differs from run to run


def attempt(case: Case, target: Target, adapter: Adapter) -> Outcome:
    """Lower, run and judge; whatever the engine raises is an outcome."""
    started = time.perf_counter()
    try:
        program = lower(adapter, case.graph, target.options)
    except Unsupported as error:
        return Outcome("refused", _brief("; ".join(error.reasons)))
    except Exception as error:  # noqa: BLE001  # to find out what an engine raises is what this is for
        return _crashed(error)
    model = program.rounding
    try:
        actual = program.run(case.inputs, lengths=case.lengths)
    except BadInput as error:  # the inputs are sound: the reference took them
        cause = why_unclaimed(case, model)
        return _crashed(error) if cause is None else Outcome("overflow", _brief(str(error)), model.precision)
    except Exception as error:  # noqa: BLE001  # as above
        return _crashed(error)
    seconds = time.perf_counter() - started
    try:
        return replace(judge(case, model, actual), seconds=seconds)
    except SnubridgeError as error:  # what was recorded is of another network
        return _crashed(error)


def _crashed(error: Exception) -> Outcome:
    return Outcome("crashed", _brief(f"{type(error).__name__}: {error}"))


def _brief(text: str) -> str:
    return one_line(_ADDRESS.sub("0x...", " ".join(text.split())))[:LONGEST]
