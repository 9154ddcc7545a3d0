"""One matrix for the values of several samples, in one product."""

from typing import Any

import nengo
import numpy as np
from nengo.builder import Builder, Operator, Signal

from snubridge_nengo.engine.neurons import Array


class SideBySide(nengo.transforms.Transform):
    """``matrix @ x`` of each of ``samples``, x being (samples, size_in) in one row; the matrix is there once.

    ``matrix`` is dense, or a ``nengo.transforms.SparseMatrix``.
    """

    def __init__(self, matrix: Any, samples: int) -> None:
        super().__init__()
        self.matrix = matrix
        self.samples = samples

    def sample(self, rng: Any = np.random) -> Any:
        """The matrix; nothing is drawn."""
        return self.matrix

    @property
    def size_in(self) -> int:
        return int(self.matrix.shape[1] * self.samples)

    @property
    def size_out(self) -> int:
        return int(self.matrix.shape[0] * self.samples)


class Product(Operator):
    """Sets ``Y`` to ``X @ A.T``, with the samples of X and Y as rows."""

    def __init__(self, A: Any, X: Any, Y: Any, samples: int) -> None:
        super().__init__(tag="side by side")
        self.sets, self.reads = [Y], [A, X]
        self.incs: list[Any] = []
        self.updates: list[Any] = []
        self.samples = samples

    def make_step(self, signals: Any, dt: float, rng: Any) -> Any:
        A, X, Y = (signals[signal] for signal in (*self.reads, *self.sets))
        rows, product = X.reshape(self.samples, -1), Y.reshape(self.samples, -1)

        def step() -> None:
            product[...] = A.dot(rows.T).T

        columns = np.ascontiguousarray(A.T) if isinstance(A, np.ndarray) else A

        def step_in_place() -> None:
            np.dot(rows, columns, out=product)

        return step_in_place if isinstance(A, np.ndarray) else step


def build_side_by_side(
    model: Any, transform: SideBySide, sig_in: Any, decoders: Any = None, encoders: Any = None, rng: Any = np.random
) -> tuple[Any, Any]:
    """The signals of the product and of the matrix; connections between neurons have no decoders."""
    matrix: Array = transform.sample(rng)
    weights = Signal(matrix, readonly=True, name="side by side weights")
    weighted = Signal(shape=transform.size_out, name="side by side weighted")
    model.add_op(Product(weights, sig_in, weighted, transform.samples))
    return weighted, weights


Builder.register(SideBySide)(build_side_by_side)
