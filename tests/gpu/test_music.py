"""The music network that was trained on a GPU, on every engine. ``benchmarks/gpu_music.py`` makes the fixture."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gpu.replay import differing

MUSIC = Path(__file__).parent / "music"


@pytest.mark.skipif(not MUSIC.exists(), reason="no GPU has recorded tests/gpu/music yet: benchmarks/gpu_music.py does")
def test_every_engine_gives_the_spikes_that_the_gpu_gave():
    for engine in ("brian2", "nengo", "onnxruntime"):
        pytest.importorskip(engine)
    assert not any(differing(MUSIC).values())
