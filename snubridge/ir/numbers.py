"""The number formats of a graph: what every parameter and input is rounded to, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class _Float:
    name: ClassVar[str]
    dtype: ClassVar[np.dtype[Any]]

    def round(self, array: Array) -> Array:
        """The nearest numbers of this format, ties to even; what exceeds its range becomes infinite.

        Shape ``(*shape,)`` in, the same shape in the format's dtype out, read-only. Whoever
        calls this checks for infinities (the rules of a graph and the entry of inputs do).
        """
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # a signaling NaN is but a NaN
            rounded = np.array(array, dtype=self.dtype, order="C")
        rounded.setflags(write=False)
        return rounded


@dataclass(frozen=True)
class Float32(_Float):
    """IEEE 754 binary32, the default: parameters as PyTorch trains them."""

    name = "float32"
    dtype = np.dtype(np.float32)


@dataclass(frozen=True)
class Float64(_Float):
    """IEEE 754 binary64."""

    name = "float64"
    dtype = np.dtype(np.float64)


Numbers = Float32 | Float64
NUMBERS: dict[str, type[Float32] | type[Float64]] = {kind.name: kind for kind in (Float32, Float64)}
