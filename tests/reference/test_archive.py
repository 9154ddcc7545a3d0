"""Array files of outside: what numpy writes comes back, and no header is believed or evaluated."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest

import snubridge as sb
from snubridge.reference.archive import read

HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


def npy(header=HEADER, body=bytes(24), version=b"\x01\x00"):
    encoded = header.encode("latin1") + b"\n"
    width = "<H" if version == b"\x01\x00" else "<I"
    return b"\x93NUMPY" + version + struct.pack(width, len(encoded)) + encoded + body


def npz(*members, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "|u1", ">i8", "|b1", "<U5", ">U3", "<u4"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5, 1), (2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_writes_comes_back(dtype, shape, order, tmp_path):
    values = np.arange(int(np.prod(shape))).reshape(shape) % 7
    array = np.asarray(values.astype(dtype), order=order)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", **{"a": array, "a.npy": array})
    np.savez_compressed(tmp_path / "c.npz", b=array)
    found = [read(tmp_path / "x.npy"), *read(tmp_path / "x.npz").values(), *read(tmp_path / "c.npz").values()]
    assert list(read(tmp_path / "x.npz")) == ["a", "a.npy"]
    for back in found:
        assert (back.dtype, back.shape) == (array.dtype.newbyteorder("="), array.shape)
        assert not back.flags.writeable
        np.testing.assert_array_equal(back, array)


NO_ARRAYS = {
    "objects": (npy(HEADER.replace("<f4", "|O")), "it holds objects"),
    "a structure": (npy(HEADER.replace("'<f4'", "[('a', '<f4')]")), "it holds no plain array"),
    "a structure in short": (npy(HEADER.replace("<f4", "i4,f8")), "real numbers are read"),
    "complex": (npy(HEADER.replace("<f4", "<c8"), bytes(48)), "values of type '<c8'"),
    "dates": (npy(HEADER.replace("<f4", "<M8[s]"), bytes(48)), "values of type"),
    "bytes": (npy(HEADER.replace("<f4", "|S4")), "values of type"),
    "no type": (npy(HEADER.replace("<f4", "<f3")), "it holds no numbers"),
    "no size": (npy(HEADER.replace("<f4", "<U0"), b""), "no plain array"),
    "a vast shape": (npy(HEADER.replace("2, 3", "9223372036854775807,")), "24 bytes, where float32 of shape"),
    "a shape that wraps around": (npy(HEADER.replace("2, 3", "4294967296, 4294967296")), "24 bytes, where"),
    "nothing, vastly": (npy(HEADER.replace("2, 3", "0, 99999999999999999999"), b""), "cannot be"),
    "a negative shape": (npy(HEADER.replace("2, 3", "-2, -3")), "no plain array"),
    "a shape of floats": (npy(HEADER.replace("2, 3", "2.0, 3")), "no plain array"),
    "40 axes": (npy(HEADER.replace("2, 3", "1, " * 40), bytes(4)), "40 axes"),
    "digits without end": (npy(HEADER.replace("2, 3", "9" * 5000 + ",")), "no plain array"),
    "code": (npy(HEADER.replace("(2, 3)", "__import__('os').getpid()")), "no plain array"),
    "brackets": (npy(HEADER.replace("(2, 3)", "(" * 9000)), "no plain array"),
    "a header cut short": (npy()[:40], "cut short"),
    "a header beyond": (npy(HEADER + " " * 20_000), "longer than any"),
    "no header": (b"\x93NUMPY", "no .npy file of version 1 or 2"),
    "version 3": (npy(version=b"\x03\x00"), "no .npy file of version 1 or 2"),
    "too few values": (npy(body=bytes(23)), "23 bytes, where float32 of shape \\(2, 3\\) takes 24"),
    "too many values": (npy(body=bytes(25)), "25 bytes"),
    "no bool": (npy(HEADER.replace("<f4", "|b1"), b"\0\1\2\0\0\0"), "bytes that are no bool"),
    "no text": (npy(HEADER.replace("<f4", "<U1"), b"\xff" * 24), "codes that are no text"),
    "two of one name": (None, "two arrays of one name"),
    "another thing": (npz(("a.npy", npy()), ("README", b"hello")), "'README', which is no array"),
    "out of the archive": (npz(("../../a.npy", npy(body=b""))), "'../../a.npy': 0 bytes"),
    "packed otherwise": (npz(("a.npy", npy()), method=zipfile.ZIP_LZMA), "packed in another way"),
    "a bomb": (
        npz(("a.npy", bytes(2**26)), method=zipfile.ZIP_DEFLATED),
        "unfold to too many: save it with numpy.savez",
    ),
    "bombs": (npz(*((f"{i}.npy", bytes(2**21)) for i in range(20)), method=zipfile.ZIP_DEFLATED), "unfold to too many"),
    "an archive cut short": (npz(("a.npy", npy()))[:-20], "cut short"),
    "an empty file": (b"", "neither begins"),
    "a pickle": (b"\x80\x04\x95", "neither begins"),
}


def twice():
    with pytest.warns(UserWarning, match="Duplicate name"):
        return npz(("a.npy", npy()), ("a.npy", npy()))


@pytest.mark.parametrize("case", NO_ARRAYS)
def test_what_is_no_array_of_numbers_is_refused(case, tmp_path):
    data, expected = NO_ARRAYS[case]
    path = tmp_path / "x.npz"
    path.write_bytes(twice() if data is None else data)
    with pytest.raises(sb.BadFile, match=f"x\\.npz: not a readable .npy or .npz file: .*{expected}") as caught:
        read(path)
    assert str(caught.value).isprintable()


def test_many_entries_of_the_same_bytes_are_no_way_to_memory(tmp_path):
    data = bytearray(npz(("a.npy", npy(HEADER.replace("2, 3", "250000,"), bytes(1_000_000)))))
    start, end = data.index(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    entry = bytes(data[start:end]).removesuffix(b"a.npy")
    entries = b"".join(entry + f"{name}.npy".encode() for name in "abcdefghijklmnop")
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 16, 16, len(entries), start, 0)
    (tmp_path / "x.npz").write_bytes(bytes(data[:start]) + entries + tail)
    with pytest.raises(sb.BadFile, match="unfold to too many"):
        read(tmp_path / "x.npz")


TRACES = {
    "unknown group": ({"volts/u": np.ones((2, 1, 3))}, "unknown key 'volts/u'"),
    "hostile name": ({"spikes/\x1b[2J": np.ones((2, 1, 3))}, r"unknown key 'spikes/\\x1b\[2J'"),
    "no name": ({"spikes/": np.ones((2, 1, 3))}, "unknown key"),
    "spikes of 2": ({"spikes/u": np.full((2, 1, 3), 2, np.uint8)}, "holds 2; spikes are 0 or 1"),
    "text": ({"spikes/u": np.full((2, 1, 3), "a")}, "not real numbers"),
    "long doubles": ({"spikes/u": np.ones((2, 1, 3), np.longdouble)}, "up to 64 bits"),
    "no steps": ({"spikes/u": np.ones((0, 1, 3))}, "or have none"),
    "no samples": ({"spikes/u": np.ones((2, 0, 3))}, "or have none"),
    "one axis": ({"spikes/u": np.ones(2)}, "or have none"),
    "other steps": ({"spikes/u": np.ones((2, 1, 3)), "states/u": np.ones((3, 1, 3))}, "differ in steps"),
    "long": ({"spikes/u": np.ones((2, 1, 3)), "lengths": [3]}, "lengths from 3 to 3; needed 1 to 2 steps"),
    "lengths of another batch": ({"spikes/u": np.ones((2, 1, 3)), "lengths": [1, 1]}, r"lengths \(B,\)"),
    "reduced numbers": ({"spikes/u": np.ones((2, 1, 3)), "reduced": [1]}, "no list of names"),
    "reduced strangers": ({"spikes/u": np.ones((2, 1, 3)), "reduced": ["o"]}, "not there"),
    "nothing": ({}, "lengths"),
}


@pytest.mark.parametrize("case", TRACES)
def test_what_is_no_trace_is_refused(case, tmp_path):
    arrays, expected = TRACES[case]
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        for key, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array)
            archive.writestr(f"{key}.npy", stream.getvalue())
    with pytest.raises(sb.BadFile, match=r"t\.npz") as caught:
        sb.Trace.load(tmp_path / "t.npz")
    caught.match(expected)
