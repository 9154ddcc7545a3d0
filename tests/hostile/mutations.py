"""Files made hostile, from a seed: bytes at random, and values behind checksums with the containers sealed anew.

A mutation takes a generator and the bytes of a valid file, and returns others. The same seed gives the same file.
"""

from __future__ import annotations

import copy
import io
import json
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator

Mutation = Callable[[Generator, bytes], bytes]
INTEGERS = (0, 1, 2, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**53 + 1, 2**62, 2**63 - 1, -(2**31))


def flipped(rng: Generator, data: bytes) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]


def substituted(rng: Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(len(data), size=rng.integers(1, 9)):
        changed[at] = int(rng.choice([0, 255, 0x7F, 0x80, 0x22, 0x2C, 0x30, 0x5B, 0x7B, rng.integers(256)]))
    return bytes(changed)


def truncated(rng: Generator, data: bytes) -> bytes:
    return data[: int(rng.integers(len(data)))]


def inserted(rng: Generator, data: bytes) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + rng.bytes(int(rng.integers(1, 40))) + data[at:]


def deleted(rng: Generator, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def swapped(rng: Generator, data: bytes) -> bytes:
    a, b, c = sorted(int(i) for i in rng.integers(len(data) + 1, size=3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def doubled(rng: Generator, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:end] + data[start:end] + data[end:]


def tail_doubled(rng: Generator, data: bytes) -> bytes:
    return data + data[int(rng.integers(len(data))) :]


def zeroed(rng: Generator, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + bytes(end - start) + data[end:]


def overwritten(rng: Generator, data: bytes) -> bytes:
    """An interesting integer over a field of 1, 2, 4 or 8 bytes, in either byte order."""
    size = int(rng.choice([1, 2, 4, 8]))
    number = INTEGERS[int(rng.integers(len(INTEGERS)))] % 256**size
    at = int(rng.integers(max(1, len(data) - size)))
    return data[:at] + number.to_bytes(size, "little" if rng.random() < 0.7 else "big") + data[at + size :]


def number_replaced(rng: Generator, data: bytes) -> bytes:
    """Digits anywhere in the text of a file become other digits of the same length."""
    runs = list(re.finditer(rb"[0-9]+", data))
    if not runs:
        return flipped(rng, data)
    run = runs[int(rng.integers(len(runs)))]
    return data[: run.start()] + bytes(rng.integers(0x30, 0x3A, len(run[0])).astype(np.uint8)) + data[run.end() :]


BYTES: tuple[Mutation, ...] = (
    flipped,
    flipped,
    substituted,
    truncated,
    inserted,
    deleted,
    swapped,
    doubled,
    tail_doubled,
    zeroed,
    overwritten,
    overwritten,
    number_replaced,
)


def bytes_mutated(rng: Generator, data: bytes) -> bytes:
    """One to three of the mutations that know nothing of a format."""
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        data = _any(rng, BYTES)(rng, data) or b"\0"
    return data


def _span(rng: Generator, data: bytes) -> tuple[int, int]:
    start = int(rng.integers(len(data)))
    return start, min(len(data), start + int(rng.integers(1, 64)))


def _any(rng: Generator, things: Any) -> Any:
    return things[int(rng.integers(len(things)))]


# JSON: what json.dumps cannot say is put in as a marked string, which becomes the raw text behind the mark.
RAW = "\ufdd0"
JSON_VALUES: tuple[Any, ...] = (
    *INTEGERS,
    None,
    True,
    False,
    0.5,
    -0.0,
    1e308,
    5e-324,
    "",
    "in",
    "mean",
    "a/b",
    "../../x",
    "a\x00b",
    "a\nb",
    "\x1b[31m\x07red",
    "\ud800",
    "\u202eabc",
    "x" * 5000,
    "__import__('os')",
    [],
    {},
    [1, 2, 3],
    [[]],
    {"kind": "step"},
    {"kind": []},
    [[["in", "in", 0]]],
)
NO_JSON: tuple[str, ...] = (
    RAW + "NaN",
    RAW + "-Infinity",
    RAW + "1e999",
    RAW + "-1e999",
    RAW + "9" * 400,
    RAW + "9" * 4200,
    RAW + "9" * 100_000,
    RAW + "[" * 150 + "]" * 150,
    RAW + "[" * 900 + "]" * 900,
    RAW + "[" * 100_000,
    RAW + '{"a":1,"a":2}',
    RAW + "{'a':1}",
    RAW + "[1,]",
    RAW + "01",
    RAW + "/*",
)


def json_mutated(rng: Generator, value: Any) -> str:
    """The text of a JSON value in which something, somewhere, is another thing than it was."""
    tree = json.loads(json.dumps(value))
    for _ in range(int(rng.choice([1, 1, 2]))):
        tree = _tree_mutated(rng, tree)
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return re.sub(r'"\\ufdd0((?:[^"\\]|\\.)*)"', lambda found: json.loads(f'"{found[1]}"'), text)


def _tree_mutated(rng: Generator, tree: Any) -> Any:
    places: list[tuple[Any, Any]] = []
    pending = [tree]
    while pending:
        container = pending.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        places += [(container, key) for key in keys]
        pending += [container[key] for key in keys if isinstance(container[key], dict | list)]
    if not places:
        return _any(rng, JSON_VALUES)
    container, key = _any(rng, places)
    other, other_key = _any(rng, places)
    action = int(rng.integers(8))
    if action <= 2:
        container[key] = copy.deepcopy(_any(rng, JSON_VALUES if rng.random() < 0.85 else NO_JSON))
    elif action == 3:
        container[key] = json.loads(json.dumps(other[other_key]))
    elif action == 4:
        del container[key]
    elif action == 5 and isinstance(container, dict) and key not in ("snubridge", "format"):
        container[str(_any(rng, ("code", "", "a\nb", "name", "in/weight", "\x1b[2J")))] = container.pop(key)
    elif action == 6 and isinstance(container[key], int | float) and not isinstance(container[key], bool):
        container[key] = container[key] + _any(rng, (1, -1, 0.5, 2**31))
    elif isinstance(container, list):
        container.insert(int(rng.integers(len(container) + 1)), json.loads(json.dumps(container[key])))
    elif rng.random() < 0.1:
        container[RAW + f"{json.dumps(key)[1:-1]}"] = container[key]  # the raw text loses its quotes: no JSON
    return tree


def safetensors_mutated(rng: Generator, data: bytes) -> bytes:
    """The header of a safetensors file, or the document in it, is another; its length is right."""
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    if rng.random() < 0.75:
        header["__metadata__"]["snubridge"] = json_mutated(rng, json.loads(header["__metadata__"]["snubridge"]))
        text = json.dumps(header)
    else:
        text = json_mutated(rng, header)
    if rng.random() < 0.1:
        body = bytes_mutated(rng, body or b"\0")
    encoded = text.encode("utf-8", "surrogatepass")
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded + body


DTYPES = (
    "<f4",
    "<f8",
    ">f8",
    "|u1",
    "|b1",
    "<U3",
    "|O",
    "|S3",
    "<c16",
    "<M8[s]",
    "|V8",
    "<f16",
    "<U0",
    "<f3",
    "<U999999",
)
SHAPES = (
    "()",
    "(0,)",
    "(-1,)",
    "(1,)",
    "(2, 0)",
    "(9223372036854775807,)",
    "(4294967296, 4294967296)",
    "(1e3,)",
    "(True,)",
)
SHAPES += (
    "(" + "1, " * 70 + ")",
    "(" + "9" * 5000 + ",)",
    "(0, 9223372036854775807)",
    "((((",
    "__import__('os')",
    "[3]",
)


def npy_mutated(rng: Generator, data: bytes) -> bytes:
    """The header of an .npy file is another, of the right length, or its values are."""
    start = 10 + int.from_bytes(data[8:10], "little")
    header, body = data[10:start].decode("latin1"), data[start:]
    action = int(rng.integers(6))
    if action == 0:
        header = re.sub(r"'descr': '[^']*'", f"'descr': {_any(rng, DTYPES)!r}", header)
    elif action == 1:
        header = re.sub(r"\([0-9, ]*\)", lambda _: _any(rng, SHAPES), header)
    elif action == 2:
        header = header.replace("False", str(_any(rng, ("True", "None", "0", "[]"))))
    elif action == 3:
        descr = _any(
            rng, ("[('a', '<f4'), ('b', '|O')]", "'i4,f8'", '"|O"', "'\\d'", "1if 1else 2", "{}", "'" + "(" * 999 + "'")
        )
        header = re.sub(r"'descr': '[^']*'", lambda _: f"'descr': {descr}", header)
    elif action == 4:
        header = bytes_mutated(rng, header.encode("latin1")).decode("latin1")
    else:
        body = bytes_mutated(rng, body or b"\0")
    if rng.random() < 0.3:
        body = body * int(rng.integers(0, 4)) + rng.bytes(int(rng.integers(0, 9)))
    encoded = header.encode("latin1")
    if len(encoded) > 65535:
        return data[:6] + b"\x02\x00" + struct.pack("<I", len(encoded)) + encoded + body
    return data[:8] + struct.pack("<H", len(encoded)) + encoded + body


NAMES = (
    "../../evil.npy",
    "/etc/passwd",
    "spikes/.npy",
    "spikes/a\x1b[31mb.npy",
    "lengths.npy",
    "reduced.npy",
    "folder/",
    "a\n.npy",
    "outputs/out.npy",
)


def npz_mutated(rng: Generator, data: bytes) -> bytes:
    """A member of an .npz archive is another, under another name, twice, or packed otherwise; its CRC is right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    index = int(rng.integers(len(members)))
    name, content = members[index]
    action = int(rng.integers(7))
    if action <= 2:
        members[index] = name, npy_mutated(rng, content)
    elif action == 3:
        members[index] = _any(rng, NAMES), content
    elif action == 4:
        members.insert(index, (_any(rng, [*NAMES, *(n for n, _ in members)]), _any(rng, members)[1]))
    elif action == 5:
        del members[index]
    else:
        members[index] = name, bytes(int(rng.choice([0, 1, 2**12, 2**16, 2**25 + 1], p=[0.3, 0.3, 0.2, 0.19, 0.01])))
    method = _any(
        rng, (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as archive:
        warnings.simplefilter("ignore")  # zipfile's, of a name that is there twice: so it is meant
        for name, content in members:
            archive.writestr(name, content, compresslevel=1)
    packed = stream.getvalue()
    return packed if rng.random() < 0.7 else _directory_mutated(rng, packed)


def _directory_mutated(rng: Generator, data: bytes) -> bytes:
    """A field of a header inside of a zip archive tells another number: sizes, offsets, flags, disks."""
    marks = [found.start() for found in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", data)]
    at = _any(rng, marks) + 4 + int(rng.integers(40))
    size = int(rng.choice([1, 2, 4]))
    number = INTEGERS[int(rng.integers(len(INTEGERS)))] % 256**size
    return data[:at] + number.to_bytes(size, "little") + data[at + size :]


def message_mutated(rng: Generator, message: Any) -> None:
    """A field of a protobuf message, or of one in it, is another, is gone, or is there twice."""
    holders = [message]
    for holder in holders:  # which grows meanwhile
        for field, value in holder.ListFields():
            if field.message_type is not None:
                holders.extend(value if _repeated(field) else [value])
    holder = _any(rng, holders)
    fields = holder.ListFields()
    if not fields:
        return
    field, value = _any(rng, fields)
    if rng.random() < 0.15:
        holder.ClearField(field.name)
    elif _repeated(field):
        action = int(rng.integers(3))
        if action == 0:
            del value[int(rng.integers(len(value)))]
        elif field.message_type is not None:
            value.add().CopyFrom(_any(rng, value))
        elif action == 1:
            value[int(rng.integers(len(value)))] = _scalar(rng, value[0])
        else:
            value.append(_scalar(rng, value[0]))
    elif field.message_type is None:
        if field.enum_type is None:
            setattr(holder, field.name, _scalar(rng, value))
        else:
            setattr(holder, field.name, _any(rng, field.enum_type.values).number)
    else:
        getattr(holder, field.name).Clear()


def _repeated(field: Any) -> bool:
    return bool(getattr(field, "is_repeated", None) if hasattr(field, "is_repeated") else field.label == 3)


def _scalar(rng: Generator, value: Any) -> Any:
    if isinstance(value, bytes):
        return bytes_mutated(rng, value or b"\0")
    if isinstance(value, str):
        return _any(rng, ("", "x", "parameters/w/weight", "\x1b[31m", "a\nb", value + "x", value[:-1]))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return int(_any(rng, (0, 1, -1, value + 1, 2**31 - 1)))
    return float(_any(rng, (0.0, -1.0, 1e30, float("nan"), float("inf"))))
