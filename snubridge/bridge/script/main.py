# The end of every exported script: read inputs and parameters, run, write the trace. Imports numpy only,
# since its source is appended to the engine module's (so no `from __future__` here).
import hashlib
import json
import math
import os
import pathlib
import sys
import tokenize
import zipfile
import zlib

import numpy as np

# What numpy and zipfile raise for one broken file or another.
UNREADABLE = (
    *(OSError, ValueError, EOFError, KeyError, SyntaxError, TypeError, RuntimeError, MemoryError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def refuse(problem):
    """One line on standard error, and exit status 2; what a file holds is shown without control characters."""
    print("".join(c if c.isprintable() else repr(c)[1:-1] for c in problem)[:1000], file=sys.stderr)
    raise SystemExit(2)


def read_arrays(path):
    """The array of an .npy file, or those of an .npz file by their exact names; nothing of it is evaluated."""
    try:
        if pathlib.Path(path).exists() and not pathlib.Path(path).is_file():
            refuse(f"{path}: is no regular file")  # a pipe would be waited for without end
        with pathlib.Path(path).open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                stream.seek(0)
                return checked(stream, pathlib.Path(path).stat().st_size)
            with zipfile.ZipFile(stream) as archive:
                arrays = {}
                for info in archive.infolist():
                    with archive.open(info) as member:
                        arrays[info.filename.removesuffix(".npy")] = checked(member, info.file_size)
                return arrays
    except UNREADABLE as error:
        refuse(f"{path}: cannot be read as an .npy or .npz file: {error}")


def checked(stream, size):
    """One .npy, whose header must account for exactly the ``size`` bytes that there are, before any are taken."""
    start = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if start not in readers:
        raise ValueError(f"version {start} of the .npy format")
    shape, fortran, dtype = readers[start](stream)
    if dtype.hasobject or dtype.kind not in "biufU":
        raise ValueError(f"values of type {dtype}; real numbers are needed")
    count = math.prod(shape)
    if count * dtype.itemsize != size - stream.tell():
        raise ValueError(f"a header that says {dtype} {shape}, and {size - stream.tell()} bytes of values")
    values = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def read_inputs(path, plan):
    """{input: (T, B, size) float64} from an .npy (one input) or .npz (by name), rounded to the network's numbers."""
    loaded = read_arrays(path)
    names = [entry["name"] for entry in plan["inputs"]]
    if isinstance(loaded, np.ndarray):
        loaded = {names[0]: loaded} if len(names) == 1 else {}
    if set(loaded) != set(names):
        refuse(f"{path}: arrays for {', '.join(loaded) or 'no input'}; the network's inputs are {', '.join(names)}")
    arrays = {}
    for entry in plan["inputs"]:
        name, shape, array = entry["name"], tuple(entry["shape"]), loaded[entry["name"]]
        if array.dtype.kind not in "biuf" or array.shape[2:] != shape or array.ndim != 2 + len(shape) or not array.size:
            refuse(f"{path}: input {name} is {array.dtype} {array.shape}; needed numbers (T, B, *{shape})")
        with np.errstate(over="ignore"):
            rounded = array.astype(plan["numbers"]).astype(np.float64)
        if not np.isfinite(rounded).all():
            refuse(f"{path}: input {name} has values that are not finite in {plan['numbers']}")
        low, high, bits = entry["low"], entry["high"], entry["fraction_bits"]
        if (low is not None and rounded.min() < low) or (high is not None and rounded.max() > high):
            refuse(f"{path}: input {name} has values outside of [{low}, {high}]")
        if bits is not None and (np.ldexp(rounded, bits) % 1).any():
            refuse(f"{path}: input {name} has values that are no multiple of 2^-{bits}")
        arrays[name] = rounded.reshape(*array.shape[:2], -1)
    if len({array.shape[:2] for array in arrays.values()}) != 1:
        refuse(f"{path}: the inputs differ in steps or samples")
    return arrays


def read_lengths(path, steps, samples):
    """(B,) integers from 1 to T."""
    lengths = read_arrays(path)
    if not isinstance(lengths, np.ndarray) or lengths.dtype.kind not in "iu" or lengths.shape != (samples,):
        refuse(f"{path}: an .npy file with ({samples},) integers is needed, the steps of each sample that count")
    if lengths.min() < 1 or lengths.max() > steps:
        refuse(f"{path}: lengths from {lengths.min()} to {lengths.max()}; needed 1 to {steps} steps")
    return lengths.astype(np.int64)


def shaped(plan, recorded, lengths):
    """The engine's (T, B, size) arrays as (T, B, *shape); the spikes of Step units as uint8.

    Of an output that is reduced over time the engine recorded the running value: what it was when each sample
    ended is the reduction, (B, *shape).
    """
    stops = {stop["name"]: stop for stop in plan["stops"]}
    trace = {}
    for key, values in recorded.items():
        group, _, name = key.partition("/")
        values = np.asarray(values).reshape(*values.shape[:2], *stops[name]["shape"])
        if group == "spikes" and stops[name]["h"]["kind"] == "step":
            if not ((values == 0) | (values == 1)).all():
                raise ValueError(f"unit {name}: the engine delivered values other than 0 and 1")
            values = values.astype(np.uint8)
        if group == "outputs" and stops[name]["over_time"] is not None:
            values = values[lengths - 1, np.arange(len(lengths))]
        trace[key] = values
    return trace


def main(run, parameters_sha256):
    """python SCRIPT inputs.npy trace.npz [lengths.npy]; the parameters lie in the .npz beside the script."""
    if len(sys.argv) not in (3, 4):
        refuse(f"usage: python {sys.argv[0]} inputs.npy trace.npz [lengths.npy]")
    script, target = pathlib.Path(__file__), pathlib.Path(sys.argv[2])
    parameters = script.with_suffix(".npz")
    kept = script.with_name(f".{script.stem}.{parameters_sha256[:16]}.npz")  # of a save that was cut off
    given = [parameters, kept, script, *map(pathlib.Path, (sys.argv[1], *sys.argv[3:]))]
    if target.resolve() in [path.resolve() for path in given]:
        refuse(f"{target}: would overwrite the script, its parameters, or its inputs; name another file")
    if not target.absolute().parent.is_dir():
        refuse(f"{target}: the folder does not exist; make it first")
    if target.exists() and not target.is_file():
        refuse(f"{target}: is no regular file, and is not replaced by one")
    found = [path for path in (parameters, kept) if path.is_file()]
    if not found:
        refuse(f"{parameters} is missing: the parameters lie beside the script, under its name")
    found = [path for path in found if hashlib.sha256(path.read_bytes()).hexdigest() == parameters_sha256]
    if not found:
        refuse(f"{parameters} was not exported with this script: export both anew")
    arrays = read_arrays(found[0])
    plan = json.loads(str(arrays.pop("plan")))
    inputs = read_inputs(sys.argv[1], plan)
    steps, samples = next(iter(inputs.values())).shape[:2]
    lengths = np.full(samples, steps) if len(sys.argv) == 3 else read_lengths(sys.argv[3], steps, samples)
    trace = shaped(plan, run(plan, arrays, inputs), lengths)
    reduced = [stop["name"] for stop in plan["stops"] if stop.get("over_time") is not None]
    if reduced:
        trace["reduced"] = np.array(reduced)
    whole = any(key.partition("/")[2] not in reduced for key in trace if "/" in key)
    if not whole or (lengths != steps).any():
        trace["lengths"] = lengths
    beside = target.with_name(f".{target.name[:80]}.{os.getpid()}.partial")
    try:
        try:
            with beside.open("xb") as stream:  # a name of its own choice: numpy would append .npz
                np.savez(stream, **trace)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        refuse(f"{target}: cannot be written: {error.strerror or error}")
