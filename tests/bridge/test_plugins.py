"""Plug-ins: found by entry point, and one that is broken hinders no other."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest

import snubridge as sb
from snubridge.bridge import plugins as room
from snubridge.bridge.plugins import plugins


@pytest.fixture
def entries(monkeypatch):
    """Only these entry points: one that fails at import, one that is no adapter, one under a wrong name."""
    made = [
        importlib.metadata.EntryPoint(name, value, room.GROUP)
        for name, value in {
            "broken": "no_such_module:Adapter",
            "number": "math:pi",
            "other": "snubridge_torch:TorchAdapter",
            "torch": "snubridge_torch:TorchAdapter",
        }.items()
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: made)


@pytest.mark.usefixtures("entries")
def test_a_broken_plugin_says_so_and_hinders_no_other():
    found = plugins()
    assert found["torch"].problem is None
    assert "No module named 'no_such_module'" in found["broken"].problem
    assert "no adapter called number" in found["number"].problem
    assert "no adapter called other" in found["other"].problem
    assert list(sb.backends()) == ["torch"]
    graph = sb.Graph({"in": sb.Input((1,)), "u": sb.Unit(0, 1)}, [sb.Edge("in", "u")])
    with pytest.raises(sb.MissingEngine, match="no_such_module"):
        sb.export(graph, "broken")
    report = sb.verify(graph, np.ones((2, 1, 1)))
    assert {row.backend: row.verdict for row in report.rows if row.unit in (None, "u")}["broken"] == "missing"


def test_ours_are_all_there_and_sound():
    assert {name: plugin.problem for name, plugin in plugins().items()} == dict.fromkeys(
        ["brian2", "nengo", "onnx", "pcm", "torch"]
    )


def test_what_cannot_be_read_back_is_said(tmp_path):
    with pytest.raises(sb.BadInput, match="torch cannot be read back; these can: brian2, nengo, onnx, pcm"):
        sb.import_graph(tmp_path, "torch")
