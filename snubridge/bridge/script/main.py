# The end of every exported script: read inputs and parameters, run, write the trace. Imports numpy only,
# since its source is appended to the engine module's (so no `from __future__` here).
import hashlib
import io
import json
import math
import os
import pathlib
import struct
import sys
import tokenize
import warnings
import zipfile
import zlib

import numpy as np

# What numpy and zipfile raise for one broken file or another.
UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, OverflowError, RuntimeError, MemoryError, SyntaxError),
    *(struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def refuse(problem):
    """One line on standard error, and exit status 2; what a file holds is shown without control characters."""
    print("".join(c if c.isprintable() else repr(c)[1:-1] for c in problem)[:1000], file=sys.stderr)
    raise SystemExit(2)


def read_arrays(path):
    """The array of an .npy file, or those of an .npz file by their exact names; whatever fails is refused."""
    try:
        if pathlib.Path(path).exists() and not pathlib.Path(path).is_file():
            refuse(f"{path}: is no regular file")  # a pipe would be waited for without end
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a header that is refused in the next moment
            return arrays_of(path)
    except UNREADABLE as error:
        refuse(f"{path}: cannot be read as an .npy or .npz file: {error}")


def arrays_of(path):
    """The array of an .npy file, or {name: array} of an .npz file: nothing is unpickled, no size is believed."""
    with pathlib.Path(path).open("rb") as stream:
        start = stream.read(2)
        data = start + (stream.read() if start in (b"PK", np.lib.format.MAGIC_PREFIX[:2]) else b"")
    return members(data) if start == b"PK" else array_of(data)


def members(data):
    """The arrays of an .npz by their exact names: NpzFile drops a trailing .npy, and may take one for another."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = archive.infolist()
        packed = [member for member in found if member.compress_type != zipfile.ZIP_STORED]
        if len({member.filename for member in found}) < len(found):
            raise ValueError("two arrays of one name")
        if any(member.compress_type != zipfile.ZIP_DEFLATED for member in packed):
            raise ValueError("packed in another way than numpy's")
        if sum(member.file_size for member in found) > (max(100 * len(data), 2**25) if packed else len(data)):
            raise ValueError("it unfolds to too many bytes: save it with numpy.savez")
        return {member.filename.removesuffix(".npy"): array_of(archive.read(member)) for member in found}


def array_of(data):
    """The array of the bytes of an .npy file, which holds as many values as its header says."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of .npy")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, dtype = read_header(stream)
    start = stream.tell()
    if dtype.hasobject or not dtype.itemsize or math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ValueError(f"{len(data) - start} bytes for the shape {shape!s:.60} of {dtype!s:.60}")
    values = np.frombuffer(data, dtype, offset=start) if len(data) > start else np.empty(0, dtype)
    if dtype.kind == "b" and (values.view(np.uint8) > 1).any():
        raise ValueError("bytes that are no bool")
    return values.reshape(shape, order="F" if columns_first else "C")


def read_inputs(path, plan):
    """{input: (T, B, size) float64} from an .npy (one input) or .npz (by name), rounded to the network's numbers.

    Fixed point rounds no input: whatever is off its grid or out of its range is refused.
    """
    loaded = read_arrays(path)
    names = [entry["name"] for entry in plan["inputs"]]
    if isinstance(loaded, np.ndarray):
        loaded = {names[0]: loaded} if len(names) == 1 else {}
    if set(loaded) != set(names):
        refuse(f"{path}: arrays for {', '.join(loaded) or 'no input'}; the network's inputs are {', '.join(names)}")
    arrays = {}
    fixed = plan["numbers"] == "fixed_point"
    for entry in plan["inputs"]:
        name, shape, array = entry["name"], tuple(entry["shape"]), loaded[entry["name"]]
        if array.dtype.kind not in "biuf" or array.shape[2:] != shape or array.ndim != 2 + len(shape) or not array.size:
            refuse(f"{path}: input {name} is {array.dtype} {array.shape}; needed numbers (T, B, *{shape})")
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = array.astype("float64" if fixed else plan["numbers"]).astype(np.float64)
            exact = rounded.astype(array.dtype) == array
        if not np.isfinite(rounded).all():
            refuse(f"{path}: input {name} has values that are not finite in {plan['numbers']}")
        if fixed and not exact.all():
            refuse(f"{path}: input {name} has values that do not fit float64")
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


def overflowed(error):
    """Whether numpy's FloatingPointError is behind an error, which an engine may have wrapped in its own."""
    while error is not None and not isinstance(error, FloatingPointError):
        error = error.__cause__
    return error is not None


def main(run, parameters_sha256):
    """python SCRIPT inputs.npy trace.npz [lengths.npy]; ends in one line, whatever is wrong."""
    try:
        traced(run, parameters_sha256)
    except KeyboardInterrupt:
        refuse("interrupted; nothing is half-written")
    except MemoryError:
        refuse("out of memory: run fewer samples or steps at a time")


def traced(run, parameters_sha256):
    """Read, run, write; the parameters lie in the .npz beside the script."""
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
    try:
        with np.errstate(under="ignore", over="raise", invalid="raise"):
            trace = shaped(plan, run(plan, arrays, inputs), lengths)
        if not all(np.isfinite(values).all() for values in trace.values()):
            raise FloatingPointError("values that are not finite")
    except Exception as error:
        if not overflowed(error):
            raise
        refuse(f"{sys.argv[1]}: the engine overflowed: scale the weights or the inputs down")
    reduced = [stop["name"] for stop in plan["stops"] if stop.get("over_time") is not None]
    if reduced:
        trace["reduced"] = np.array(reduced)
    whole = any(key.partition("/")[2] not in reduced for key in trace if "/" in key)
    if not whole or (lengths != steps).any():
        trace["lengths"] = lengths
    target = target.resolve()  # through a link
    beside = target.with_name(f".{target.name[:80]}.{os.getpid()}.partial")
    try:
        try:
            with beside.open("xb") as stream:  # a name of its own choice: numpy would append .npz
                np.savez(stream, **trace)
            if target.exists():
                beside.chmod(target.stat().st_mode & 0o777)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        refuse(f"{target}: cannot be written: {error.strerror or error}")
