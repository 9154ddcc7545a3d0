# The end of every exported script: read inputs and parameters, run, write the trace. Imports numpy only,
# since its source is appended to the engine module's (so no `from __future__` here).
import hashlib
import json
import pathlib
import sys
import zipfile
import zlib

import numpy as np


def read_inputs(path, plan):
    """{input: (T, B, size) float64} from an .npy (one input) or .npz (by name), rounded to the network's numbers."""
    try:
        loaded = np.load(path, allow_pickle=False)
        loaded = loaded if isinstance(loaded, np.ndarray) else members(loaded)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise SystemExit(f"{path}: cannot be read as an .npy or .npz file: {error}") from None
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
        with np.errstate(over="ignore"):
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


def members(archive):
    """The arrays of an .npz by their exact names: NpzFile drops a trailing .npy, and may take one for another."""
    names = archive.zip.namelist()
    return {name.removesuffix(".npy"): np.lib.format.read_array(archive.zip.open(name)) for name in names}


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
    with np.load(parameters, allow_pickle=False) as stored:
        arrays = members(stored)
    plan = json.loads(str(arrays.pop("plan")))
    inputs = read_inputs(sys.argv[1], plan)
    trace = shaped(plan, run(plan, arrays, inputs))
    with pathlib.Path(sys.argv[2]).open("wb") as stream:  # a name of its own choice: numpy would append .npz
        np.savez(stream, **trace)
