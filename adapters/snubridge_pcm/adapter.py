"""PCM crossbars in ideal mode: a graph as a folder that describes a chip, and the chip's digital twin."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from numpy.typing import ArrayLike

from snubridge.bridge import Engine, ErrorModel, Requirement, Support, Trace, prepare
from snubridge.errors import BadFile, BadInput, InvalidGraph, InvalidGraphFile, shown
from snubridge.ir.document import from_json
from snubridge.ir.file import StrPath
from snubridge.ir.graph import Graph
from snubridge.reference.inputs import Inputs
from snubridge_pcm import folder, twin
from snubridge_pcm.conductances import is_full_scale
from snubridge_pcm.description import NODES, NUMBER_KINDS, OVER_TIME, RESETS, Arrays, Document, G, H, describe
from snubridge_pcm.restoration import restore


@dataclass(frozen=True)
class PcmProgram:
    """A graph as the files of a ``.pcm`` folder; runs on the twin, which reads such a folder and nothing else."""

    graph: Graph
    files: folder.Files
    rounding: ClassVar[ErrorModel] = ErrorModel("float64")
    """numpy flushes no subnormal; measured on 2.3.5, its tanh is off by at most 1.6 u of its value."""

    @property
    def native(self) -> Mapping[str, Any]:
        """The hardware description, the contents of ``hardware.json``."""
        return MappingProxyType(self._hardware())

    @property
    def facts(self) -> Mapping[str, int]:
        """How many devices and crossbars the network takes."""
        hardware = self._hardware()
        crossbars = sum(entry["crossbars"] for entry in hardware["crossbars"])
        return MappingProxyType({"devices": hardware["devices"], "crossbars": crossbars})

    def run(self, inputs: Inputs, record: Sequence[str] = ("spikes",), lengths: ArrayLike | None = None) -> Trace:
        """Run the twin on the folder; see ``snubridge.simulate`` for the arguments."""
        run = prepare(self.graph, inputs, lengths, record)
        hardware, arrays = self._read_back
        recorded = twin.simulate(hardware, arrays, run.inputs, run.lengths, states="states" in run.record)
        return Trace.of_run(self.graph, run, **recorded)

    def save(self, path: StrPath) -> None:
        """Write the folder ``NAME.pcm``; whoever reads finds the old one or the new one, whole."""
        folder.write(self.files, path)

    @cached_property
    def _read_back(self) -> tuple[Document, Arrays]:
        with tempfile.TemporaryDirectory() as place:
            written = Path(place) / "chip.pcm"
            self.save(written)
            hardware, arrays, graph = read(written)
        if graph != self.graph:
            raise BadFile("the written folder does not hold the graph that was lowered")
        return hardware, arrays

    def _hardware(self) -> Document:
        document: Document = from_json(self.files[folder.HARDWARE_JSON])
        return document


class PcmAdapter:
    """Lowers to ``hardware.json`` + ``arrays.npz``, and reads them back bit for bit."""

    name = "pcm"
    engine: Engine = "own"
    requirement = Requirement(("snubridge_pcm",), ("snubridge",), "snubridge[pcm]")
    support = Support.of_tables(NODES, resets=RESETS, g=G, h=H, over_time=OVER_TIME, numbers=NUMBER_KINDS)

    def lower(self, graph: Graph, *, g_max_uS: float = 25.0) -> PcmProgram:
        """``g_max_uS``: the largest conductance of a device, in microsiemens."""
        if not is_full_scale(g_max_uS):
            raise BadInput(f"pcm: g_max_uS={shown(g_max_uS)}; needed a positive number of microsiemens")
        return PcmProgram(graph, MappingProxyType(folder.seal(*describe(graph, float(g_max_uS)))))

    def read(self, source: StrPath) -> Graph:
        """The graph of a ``.pcm`` folder: all nodes, edges, bits and the metadata."""
        return read(source)[2]


def read(path: StrPath) -> tuple[Document, Arrays, Graph]:
    """A folder from outside: its description and arrays, and the graph, whose own description it is."""
    hardware, arrays = folder.read(path)
    try:
        return hardware, arrays, restore(hardware, arrays)
    except InvalidGraph as error:
        raise InvalidGraphFile(f"{path}/{folder.HARDWARE_JSON}", error.breaches) from None
    except BadFile as error:
        raise BadFile(f"{path}/{folder.HARDWARE_JSON}: {error}") from None
    except RecursionError:
        raise BadFile(f"{path}/{folder.HARDWARE_JSON}: source.metadata is nested too deeply") from None
