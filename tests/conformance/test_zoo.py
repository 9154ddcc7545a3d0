"""The zoo tests the reference too: figures worked out by hand, and sums that no float32 engine may round."""

from __future__ import annotations

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge.conformance.zoo import ZOO


def test_names_are_unique_and_every_case_says_its_idea():
    assert len(ZOO) >= 30
    assert len({case.name for case in ZOO}) == len(ZOO)
    assert all(case.idea.endswith(".") for case in ZOO)


@pytest.mark.parametrize("case", ZOO, ids=str)
def test_the_reference_does_what_was_worked_out_by_hand(case):
    sb.validate(case.graph)
    groups = ("spikes", "states", "outputs")
    assert any(getattr(case, group) for group in groups), "no figure of this case is written down"
    for group in groups:
        for name, by_hand in getattr(case, group).items():
            found = getattr(case.expected, group)[name].ravel()
            assert np.size(by_hand) == found.size
            if case.exact:
                assert found.tolist() == np.ravel(by_hand).tolist(), (group, name)
            else:
                np.testing.assert_allclose(found, np.ravel(by_hand), rtol=1e-6, atol=1e-6, err_msg=f"{group}, {name}")


@pytest.mark.parametrize("case", [case for case in ZOO if case.exact], ids=str)
def test_an_exact_case_is_exact_in_float32(case):
    if case.graph.numbers == sb.Float64():
        return
    for array in (*case.expected.states.values(), *case.expected.outputs.values()):
        np.testing.assert_array_equal(array.astype(np.float32), array)
        if case.name != "inputs_are_rounded":  # one term, so no sum
            np.testing.assert_array_equal(array * 2**10, np.rint(array * 2**10))
            assert np.abs(array).max() < 2**10
