"""Functions that the equations call: rounding, values y of a group, the largest of a sample, a matrix times values.

The last three see whole groups. In a C++ project they read the group's array where it lies; on the other targets
the largest and the product are numpy's; in compiled code the product is made before (``StrictCython.__call__``), and
so is the tanh of a whole group.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from snubridge_brian2.engine.equations import Array

PRODUCT_CPP = """
static inline double %NAME%(const int i) {
    const int row = i % %ROWS%, sample = i / %ROWS%;
    const double *w = _namespace%NAME%_weights + (size_t)row * %COLUMNS%;
    const double *y = brian::%Y% + (size_t)sample * %COLUMNS% + %FIRST%;
    double sums[8] = {0, 0, 0, 0, 0, 0, 0, 0}, rest = 0;
    int j = 0;
    for (; j + 8 <= %COLUMNS%; j += 8)
        for (int k = 0; k < 8; k++)
            sums[k] += w[j + k] * y[j + k];
    for (; j < %COLUMNS%; j++)
        rest += w[j] * y[j];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]) + ((sums[4] + sums[5]) + (sums[6] + sums[7])) + rest;
}
"""
VALUES_CPP = """
static inline double %NAME%(const int i) {
    return brian::%Y%[i + %FIRST%];
}
"""
VALUES_CYTHON = """
cdef double value_at(const int i):
    global _namespacepassed_on
    return _namespacepassed_on[i]
"""
TANH_CYTHON = """
cdef double tanh_at(const double x, const int i):
    global _namespacepassed_on
    return _namespacepassed_on[i]
"""
LARGEST_CPP = """
static inline double %NAME%(const double own, const int i) {
    static thread_local double largest = 0;
    static thread_local int last = -2;
    if (i % %SIZE% == 0 || i != last + 1) {
        const double *y = brian::%Y% + (size_t)(i / %SIZE%) * %SIZE%;
        largest = y[0];
        for (int k = 1; k < %SIZE%; k++)
            if (y[k] > largest)
                largest = y[k];
    }
    last = i;
    return largest;
}
"""


def rounding() -> dict[str, Any]:
    """The functions of ``ROUNDED``."""
    functions = {}
    for name, function in (("rounded_down", np.floor), ("rounded_to_zero", np.trunc)):
        functions[name] = _function(function, 1)
        in_c = function.__name__
        declared = f'cdef extern from "math.h":\n    double {name} "{in_c}" (double)'
        functions[name].implementations.add_implementation("cython", declared, name=name)
        functions[name].implementations.add_implementation("cpp", "", name=in_c)
    return functions


def largest(name: str, group: Any, size: int) -> Any:
    """A function ``largest(y, i)`` for equations: the largest y of all neurons of the sample that neuron i is in."""

    def of_its_sample(y: Array, i: Array) -> Array:
        highest: Array = np.broadcast_to(y, np.shape(i)).reshape(-1, size).max(axis=1)
        return np.repeat(highest, size)

    return _of_groups(of_its_sample, 2, name, LARGEST_CPP, {"SIZE": size}, group, {})


def values(name: str, group: Any, first: int) -> Any:
    """A function ``name(i)`` for equations: the y of neuron first + i of ``group``."""
    y: Array = np.zeros(0) if _is_standalone() else group.variables["y"].get_value()

    def of_its_like(i: Array) -> Array:
        like: Array = y[first : first + len(i)]
        return like

    made = _of_groups(of_its_like, 1, name, VALUES_CPP, {"FIRST": first}, group, {})
    made.implementations.add_implementation(
        "cython", VALUES_CYTHON, namespace={"passed_on": y[first:]}, name="value_at"
    )
    return made


def product(name: str, matrix: Array, group: Any, first: int, samples: int) -> Any:
    """A function ``name(i)`` for equations: row i of ``matrix`` times the y of its sample in ``group``.

    ``matrix`` (outputs, inputs); ``first``: where in the group the y of the first sample begin. Rows count on
    over the ``samples``.
    """
    rows, columns = matrix.shape
    y: Array = np.zeros(0) if _is_standalone() else group.variables["y"].get_value()
    given = y[first : first + samples * columns]
    drive = np.zeros(samples * rows)

    def of_its_sample(i: Array | None = None) -> Array:
        if samples == 1:
            np.dot(matrix, given, out=drive)
        else:
            np.matmul(given.reshape(samples, columns), matrix.T, out=drive.reshape(samples, rows))
        return drive

    places = {"ROWS": rows, "COLUMNS": columns, "FIRST": first}
    weights = {f"{name}_weights": matrix.ravel()}
    made = _of_groups(of_its_sample, 1, name, PRODUCT_CPP, places, group, weights)
    made.implementations.add_implementation("cython", VALUES_CYTHON, namespace={"passed_on": drive}, name="value_at")
    made.precompute = of_its_sample
    return made


def tanh_of_all(group: Any, half: bool) -> Any:
    """A function ``tanh_of_all(x, i)`` for equations in Cython; x is s - threshold of ``group``, or half of it."""
    s, threshold = (group.variables[name].get_value() for name in ("s", "threshold"))
    x = np.zeros(len(s))

    def of_whole_group() -> None:
        np.subtract(s, threshold, out=x)
        if half:
            np.multiply(x, 0.5, out=x)
        np.tanh(x, out=x)

    made = _function(lambda given, i: np.tanh(given), 2)
    made.implementations.add_implementation("cython", TANH_CYTHON, namespace={"passed_on": x}, name="tanh_at")
    made.precompute = of_whole_group
    return made


def _is_standalone() -> bool:
    from brian2.devices.device import RuntimeDevice, get_device

    return not isinstance(get_device(), RuntimeDevice)


def _function(function: Callable[..., Array], arguments: int) -> Any:
    """A function of so many numbers without unit; Brian2's own wrapper would print its arguments at each call."""
    from brian2 import Function

    made = Function(function, arg_units=[1] * arguments, return_unit=1)
    made.implementations.add_implementation("numpy", function)
    return made


def _of_groups(
    function: Callable[..., Array],
    arguments: int,
    name: str,
    code: str,
    places: dict[str, int],
    group: Any,
    namespace: dict[str, Array],
) -> Any:
    """A function of ``arguments`` numbers, in C++ by ``code`` on the y of ``group``."""
    from brian2 import get_device

    made = _function(function, arguments)
    if _is_standalone():
        lies = get_device().get_array_name(group.variables["y"])
        for place, text in (*places.items(), ("NAME", name), ("Y", lies)):
            code = code.replace(f"%{place}%", str(text))
        made.implementations.add_implementation("cpp", code, namespace=namespace, name=name)
    return made
