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

# What numpy and zipfile raise for one file or another that is no array.
UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, OverflowError, RuntimeError, MemoryError, SyntaxError),
    *(struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def read_inputs(path, plan):
    """{input: (T, B, size) float64} from an .npy (one input) or .npz (by name), rounded to the network's numbers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a header that is refused in the next moment
            loaded = arrays_of(path)
    except UNREADABLE as error:
        cause = " ".join(ascii(str(error))[1:-1].split())
        raise SystemExit(f"{path}: cannot be read as an .npy or .npz file: {cause:.200}") from None
    names = [entry["name"] for entry in plan["inputs"]]
    if isinstance(loaded, np.ndarray):
        loaded = {names[0]: loaded} if len(names) == 1 else {}
    arrays = {}
    for entry in plan["inputs"]:
        name, shape = entry["name"], tuple(entry["shape"])
        if name not in loaded:
            raise SystemExit(f"{path}: no array for the input {name}; needed: {', '.join(names)}")
        array = loaded[name]
        if array.dtype.kind not in "biuf" or array.shape[2:] != shape or array.ndim != 2 + len(shape) or not array.size:
            raise SystemExit(f"{path}: input {name} is {array.dtype} {array.shape}; needed numbers (T, B, *{shape})")
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            rounded = array.astype(plan["numbers"]).astype(np.float64)
        if not np.isfinite(rounded).all():
            raise SystemExit(f"{path}: input {name} has values that are not finite in {plan['numbers']}")
        low, high, bits = entry["low"], entry["high"], entry["fraction_bits"]
        if (low is not None and rounded.min() < low) or (high is not None and rounded.max() > high):
            raise SystemExit(f"{path}: input {name} has values outside of [{low}, {high}]")
        if bits is not None and (np.ldexp(rounded, bits) % 1).any():
            raise SystemExit(f"{path}: input {name} has values that are no multiple of 2^-{bits}")
        arrays[name] = rounded.reshape(*array.shape[:2], -1)
    if len({array.shape[:2] for array in arrays.values()}) != 1:
        raise SystemExit(f"{path}: the inputs differ in steps or samples")
    return arrays


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


def shaped(plan, recorded):
    """The engine's (T, B, size) arrays as (T, B, *shape); the spikes of Step units as uint8."""
    stops = {stop["name"]: stop for stop in plan["stops"]}
    trace = {}
    for key, values in recorded.items():
        group, _, name = key.partition("/")
        values = np.asarray(values).reshape(*values.shape[:2], *stops[name]["shape"])
        if group == "spikes" and stops[name]["h"]["kind"] == "step":
            if not ((values == 0) | (values == 1)).all():
                raise ValueError(f"unit {name}: the engine delivered values other than 0 and 1")
            values = values.astype(np.uint8)
        trace[key] = values
    return trace


def overflowed(error):
    """Whether numpy's FloatingPointError is behind an error, which an engine may have wrapped in its own."""
    while error is not None and not isinstance(error, FloatingPointError):
        error = error.__cause__
    return error is not None


def main(run, parameters_sha256):
    """python SCRIPT inputs.npy trace.npz; the parameters lie in the .npz beside the script."""
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: python {sys.argv[0]} inputs.npy trace.npz")
    script = pathlib.Path(__file__)
    parameters = script.with_suffix(".npz")
    if not parameters.is_file():
        raise SystemExit(f"{parameters} is missing: the parameters lie beside the script, under its name")
    if pathlib.Path(sys.argv[2]).resolve() in [p.resolve() for p in (parameters, script, pathlib.Path(sys.argv[1]))]:
        raise SystemExit(f"{sys.argv[2]}: would overwrite the script, its parameters, or its inputs; name another file")
    if not pathlib.Path(sys.argv[2]).absolute().parent.is_dir():
        raise SystemExit(f"{sys.argv[2]}: the folder does not exist; make it first")
    if hashlib.sha256(parameters.read_bytes()).hexdigest() != parameters_sha256:
        raise SystemExit(f"{parameters} was not exported with this script: export both anew")
    arrays = members(parameters.read_bytes())
    plan = json.loads(str(arrays.pop("plan")))
    inputs = read_inputs(sys.argv[1], plan)
    try:
        with np.errstate(under="ignore", over="raise", invalid="raise"):
            trace = shaped(plan, run(plan, arrays, inputs))
    except Exception as error:
        if not overflowed(error):
            raise
        raise SystemExit(f"{sys.argv[1]}: the engine overflowed: scale the weights or the inputs down") from None
    stored = io.BytesIO()
    np.savez(stored, **trace)
    target = pathlib.Path(sys.argv[2]).resolve()
    beside = target.with_name(f".{target.name[:60]}.{os.getpid()}.partial")
    try:
        if target.exists() and not target.is_file():
            raise OSError("is no regular file")
        beside.write_bytes(stored.getvalue())
        beside.replace(target)  # whole, or not at all
    except OSError as error:
        raise SystemExit(f"{sys.argv[2]}: cannot be written: {error.strerror or error}") from None
    finally:
        beside.unlink(missing_ok=True)
