"""The benchmark on a GPU, without one: its arguments, its refusals, its byte counts, and all of it on CPU tensors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from snubridge.errors import MissingEngine
from snubridge.ir.functions import Identity, Reset, Step
from snubridge.nn.kernels import Dynamics, State
from snubridge.nn.kernels import triton as kernel
from snubridge.nn.kernels.triton import launch
from snubridge.nn.surrogates import SuperSpike

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # as Python does for a script in that folder

from training import clocks, machine, opponents, platforms, traffic  # noqa: E402  # found once the path is set
from training.clocks import CpuTime  # noqa: E402
from training.timing import CandidateFailed  # noqa: E402

CARD = SimpleNamespace(name="A card", total_memory=80 * 2**30, multi_processor_count=132, major=9, minor=0)
TF32 = (torch.backends.cuda.matmul, torch.backends.cudnn)
FLOAT, HALF = torch.float32, torch.float16
DYNAMICS = Dynamics(Reset.TO_ZERO, Identity(), Step(), SuperSpike(1.0))


def benchmark(*arguments, script="training.py", **environment):
    command = [sys.executable, str(BENCHMARKS / script), "--device", "cuda", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_refused_in_one_line(tmp_path):
    done = benchmark("--quick", "--out", str(tmp_path / "new/figures.json"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: --device cuda: .* sees no GPU .* leave --device out for the CPU\n", done.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--case", "dynamics,network"], "--case: network; choose from dynamics, layer, recurrent"),
        (["--opponents", "norse"], "--opponents: norse; choose from spikingjelly"),
        (["--compile"], "--compile: of --device cpu"),
        (["--default-malloc"], "--default-malloc: of --device cpu"),
        (["--repeats", "1"], "--repeats: at least 2 are needed"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_a_gpu_does_not_have_is_refused(arguments, message):
    done = benchmark(*arguments)
    assert done.returncode == 2
    assert done.stderr.endswith(f"error: {message}\n")


@pytest.mark.parametrize(
    ("kind", "mine", "theirs"), [(FLOAT, 20.5, 24), (HALF, 10.5, 16), (torch.bfloat16, 10.5, 16)], ids=str
)
def test_bytes_of_long_sequences(kind, mine, theirs):
    """By hand: x, y, and on the way back x, dL/dy, dL/dx; a checkpoint of 4 bytes in 16 steps, twice; h, twice."""
    x = torch.empty(2**20, 1, 1024, dtype=kind, device="meta")
    assert traffic.of_snubridge(x, 16).per_element == pytest.approx(mine, abs=1e-3)
    assert traffic.of_spikingjelly(x).per_element == pytest.approx(theirs, abs=1e-3)
    assert traffic.of_copy(x).per_element == 2 * kind.itemsize


def test_bytes_of_100_steps():
    """7 checkpoints; of one step: s, y and s, and back, if anything is learned, s, y, sums; v, v, their gradients."""
    x = torch.empty(100, 1024, 1024, dtype=HALF, device="meta")
    mine, learned = (traffic.of_snubridge(x, 16, learned=number) for number in (0, 2))
    theirs, parameters = traffic.of_spikingjelly(x), 2 * 2 * 1024 * 4
    assert mine.total == 2**20 * (5 * 2 * 100 + 2 * 7 * 4 + 3 * 4) + parameters
    assert learned.total == mine.total + 2**20 * (2 * 4 + 2 * 8)
    assert mine.total / theirs.total < 0.67
    wide = torch.empty(100, 1024, 1024, device="meta")
    assert traffic.of_snubridge(wide, 16).total / traffic.of_spikingjelly(wide).total < 0.86
    assert theirs.total == 2**20 * (4 * 2 * 100 + 2 * 4 * 100 + 4 * 4)
    assert (mine.kept, theirs.kept) == (2**20 * 4 * 8, 2**20 * 4 * 101)


@pytest.mark.parametrize("learned", [0, 2])
@pytest.mark.parametrize("kind", [FLOAT, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", [1, 16, 37])
def test_the_bytes_counted_are_those_of_the_tensors_that_the_launches_get(steps, kind, learned, monkeypatch):
    launched = []

    def run(self, name, programs, warps, tensors, *rest, **constants):
        launched.append((name, sum(tensor.nbytes for tensor in tensors if tensor is not None)))

    monkeypatch.setattr(launch.Call, "_run", run)
    monkeypatch.setitem(launch.FAR, launch.PLATFORM, 16)
    parameters = [torch.ones(5, requires_grad=bool(learned)) for _ in range(2)]
    x = torch.zeros(steps, 3, 5, dtype=kind, requires_grad=True)
    y, _ = kernel.scan(DYNAMICS, *parameters, State(torch.zeros(3, 5), torch.zeros(3, 5)), x, kind=kind)
    torch.autograd.grad(y, [x, *parameters][: 1 + learned], torch.zeros_like(y))
    assert [name for name, _ in launched] == ["forward", "backward"]
    counted = traffic.of_snubridge(x, 16, learned).terms
    for name, moved in launched:
        assert moved == sum(bytes_ for term, bytes_ in counted.items() if term.startswith(f"{name}:"))


class Event:
    """Of a stream in which everything is done at once."""

    def __init__(self, log, enable_timing):
        assert enable_timing
        self.log = log

    def record(self):
        self.log.append("record")

    def synchronize(self):
        self.log.append("synchronize")

    def elapsed_time(self, other):
        assert other is not self
        return 1.5


def test_the_clock_of_a_gpu(monkeypatch):
    log = []
    monkeypatch.setattr(torch.cuda, "Event", lambda **options: Event(log, **options))
    monkeypatch.setattr(clocks, "LEAD", 64)
    clock = clocks.CudaEvents(torch.device("cpu"))
    clock._lead.fill_(1)

    def call():
        assert not clock._lead.any()
        log.append("call")

    assert clock.milliseconds(call) == 1.5
    assert log == ["record", "call", "record", "synchronize"]


@pytest.fixture
def gpu(monkeypatch):
    """What torch tells of a GPU, and no Triton that could be asked for its version."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: CARD)
    monkeypatch.setattr(platforms, "CudaEvents", lambda device: CpuTime())
    monkeypatch.setattr(machine, "missing", lambda: None)
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(__version__="3.0"))
    before = [(backend, backend.allow_tf32) for backend in TF32]
    for backend in TF32:
        backend.allow_tf32 = True
    yield
    for backend, allowed in before:
        backend.allow_tf32 = allowed


def test_without_triton_there_is_nothing_to_measure(gpu, monkeypatch):
    monkeypatch.setattr(machine, "missing", lambda: "triton is not installed")
    with pytest.raises(MissingEngine, match="triton is not installed"):
        platforms.PLATFORMS["cuda"](True)


@pytest.mark.parametrize(
    ("told", "driver"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n", "550.54.15"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build\n", "560.35.03"),
    ],
)
def test_the_card_and_its_driver(gpu, told, driver, tmp_path, monkeypatch):
    (tmp_path / "version").write_text(told)
    (pattern, _) = machine.DRIVERS.values()
    monkeypatch.setattr(machine, "DRIVERS", {tmp_path / "version": pattern})
    platform = platforms.PLATFORMS["cuda"](True)
    assert platform.device == torch.device("cuda:0")
    assert platform.about["driver"] == driver
    assert platform.headline.startswith(
        "A card, 80.0 GiB, 132 multiprocessors, compute capability 9.0, driver " + driver
    )
    assert platform.packages == {"triton": "3.0"}
    assert not any(backend.allow_tf32 for backend in TF32)


def test_the_driver_where_no_file_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "DRIVERS", {})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine._driver() == "unknown"
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho $@\n")
    tool.chmod(0o755)
    assert machine._driver() == "--query-gpu=driver_version"
    tool.write_text("#!/bin/sh\nprintf '570.1\\n570.1\\n'\n")
    assert machine._driver() == "570.1"


def test_a_peer_without_its_fused_kernels_ends_the_run(monkeypatch):
    told = {"implementation": "torch", "unavailable": {"cuda": "not built", "triton": "not installed"}}
    fake = SimpleNamespace(SuperSpike=lambda alpha: None, neuron_implementation=lambda name, device: told)
    monkeypatch.setattr(opponents, "imported", lambda module: fake)
    peer = opponents.FusedLIF(4)
    with pytest.raises(CandidateFailed, match=r"its torch implementation.*not built.*triton is unavailable: not inst"):
        peer.implementation(torch.device("cuda"))
    told["implementation"] = "triton"
    assert peer.implementation(torch.device("cuda")).startswith("its own choice: triton (cuda is unavailable: not b")


STAND_IN = {
    "__init__.py": "",
    "activation_based/__init__.py": "",
    "activation_based/surrogate.py": """
class SuperSpike:
    def __init__(self, alpha):
        self.alpha = alpha
""",
    "activation_based/functional.py": """
import torch

from snubridge.ir.functions import Identity, Reset, Step
from snubridge.nn.kernels import Dynamics, State, run
from snubridge.nn.surrogates import SuperSpike


def lif_multi_step(x, v, tau, decay_input, threshold, reset, surrogate, *, detach_reset, store_v_seq):
    assert v.dtype == torch.float32 and not (decay_input or reset or detach_reset or store_v_seq)
    dynamics = Dynamics(Reset.TO_ZERO, Identity(), Step(), SuperSpike(surrogate.alpha))
    decay, threshold = torch.tensor(1 - 1 / tau), torch.tensor(threshold)
    ran = run("eager", dynamics, decay, threshold, State(v, torch.zeros_like(v)), x)
    return ran.y.to(x.dtype), ran.last.s, None


def neuron_implementation(name, device):
    return {"implementation": "triton", "unavailable": {"cuda": "this stands in for it"}}
""",
}
"""A package with the calls of SpikingJelly that the benchmark makes, computed by the eager kernel."""
DRIVER = """
import runpy
import sys
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(sys.argv[1]).parent), sys.argv[2]]
from training import platforms



class Clock:
    def milliseconds(self, call):
        call()
        return 2.0


PLATFORM = replace(platforms.cpu(True), clock=Clock(), packages={"triton": "interpreted"})
platforms.PLATFORMS = {"cuda": lambda kept: PLATFORM}
sys.argv = [sys.argv[1], *sys.argv[3:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""The benchmark with tensors on the CPU instead of a GPU, and a clock by which every call takes 2 ms."""


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """What the whole of it writes, on CPU tensors with Triton's interpreter: figures and text."""
    pytest.importorskip("triton", reason="triton is not installed")
    folder = tmp_path_factory.mktemp("interpreted")
    for name, text in STAND_IN.items():
        path = folder / "spikingjelly" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    metadata = folder / "spikingjelly-0.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: spikingjelly\nVersion: 0\n")
    (folder / "driver.py").write_text(DRIVER)
    script, out, table = str(BENCHMARKS / "training.py"), folder / "new/cuda.json", folder / "new/cuda.md"
    command = [sys.executable, str(folder / "driver.py"), script, str(folder), "--device", "cuda", "--quick"]
    kept = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**28)}
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    done = subprocess.run(
        [*command, "--repeats", "2", "--out", str(out), "--markdown", str(table)],
        capture_output=True,
        text=True,
        env=os.environ | kept | dict.fromkeys(threads, "1") | {"TRITON_INTERPRET": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert table.read_text() in done.stdout
    return json.loads(out.read_text()), table.read_text()


def test_every_case_is_computed_and_equal_to_the_eager_kernel(interpreted):
    found, text = interpreted
    assert [section["case"] for section in found["sections"]] == ["dynamics"] * 3 + ["layer"] * 2 + ["recurrent"] * 2
    for section in found["sections"]:
        rows = {row["name"]: row for row in section["rows"]}
        mine = rows["snubridge triton"]
        assert mine["differing"] == 0
        assert 0.02 < mine["rate"] < 0.2
        assert rows["snubridge eager"]["rate"] == pytest.approx(mine["rate"])
        assert ("nn.LSTM" in rows) == (section["case"] != "dynamics")
        for row in rows.values():
            assert f"| {row['name']} | " in text
    ways = [section["rows"][0]["settings"] for section in found["sections"] if section["case"] == "recurrent"]
    assert ways == [kernel.way(16), kernel.way(130)]
    assert ways[0] != ways[1]


def test_goals_are_figures_of_what_was_measured(interpreted):
    found, text = interpreted
    goals = {goal["what"]: goal for goal in found["goals"]}
    assert len(goals) == 3 * 5 + 2 * 2
    for what, goal in goals.items():
        assert f"| {what} | " in text
        assert goal["met"] == (
            goal["reached"] >= goal["bound"] if goal["at_least"] else goal["reached"] <= goal["bound"]
        )
    bounds = {"float32": (0.86, 1.1), "float16": (0.67, 1.4), "bfloat16": (0.67, 1.4)}
    for section, (kind, (fewer, faster)) in zip(found["sections"], bounds.items(), strict=False):
        rows = {row["name"]: row for row in section["rows"]}
        mine, theirs, copied = rows["snubridge triton"], rows["SpikingJelly LIF"], rows["copy"]
        assert theirs["settings"].endswith(
            "its own choice: triton (cuda is unavailable: this stands in for it); state in float32"
        )
        x = torch.empty(20, 3, 16, dtype=getattr(torch, kind), device="meta")
        counted = traffic.of_snubridge(x, launch.FAR[launch.PLATFORM])
        assert mine["moved_bytes"] == counted.per_element
        assert mine["moved"] == dict(counted.terms)
        assert theirs["moved_bytes"] == traffic.of_spikingjelly(x).per_element
        assert mine["saved_bytes"] == pytest.approx(counted.kept / counted.elements, abs=16 / counted.elements)
        assert mine["gigabytes_per_second"] == pytest.approx(counted.total / 2e6)
        bytes_moved = goals[f"dynamics {kind}: bytes moved, snubridge triton / peer"]
        assert bytes_moved["reached"] == mine["moved_bytes"] / theirs["moved_bytes"]
        assert bytes_moved["bound"] == fewer
        assert goals[f"dynamics {kind}: peer / snubridge triton"]["bound"] == faster
        kept = goals[f"dynamics {kind}: bytes that the peer saves / those counted"]
        assert kept["met"] is False  # the eager kernel stands in for the peer, and keeps more
        share = goals[f"dynamics {kind}: bandwidth of snubridge triton / copy"]
        assert share["bound"] == 0.85
        assert share["reached"] == pytest.approx(counted.total / (960 * 8))
        assert copied["gigabytes_per_second"] == pytest.approx(960 * 8 / 2e6)
