"""A figure as SVG: text stays text, images are PNG inside of it; nothing outside is referred to."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from snubridge.verification.markup import escaped
from snubridge.verification.pictures.figure import PALETTE, Area, Dots, Figure, Line, Pixels, Points, Words

FONT = "system-ui, 'DejaVu Sans', sans-serif"
THEMED: Mapping[str, str] = MappingProxyType({role: f"var(--{role})" for role in PALETTE})
"""Colors that the page around it defines."""


def inline(figure: Figure, kind: str = "") -> str:
    """The figure as an element of a page, which defines the colors; ``kind`` is its class."""
    return _written(figure, THEMED, f' class="{escaped(kind)}"' if kind else "")


def document(figure: Figure) -> str:
    """The figure as a file of its own, on white."""
    size = f' width="{_n(figure.width)}" height="{_n(figure.height)}"'
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + _written(figure, PALETTE, size, paper=True) + "\n"


def _written(figure: Figure, colors: Mapping[str, str], attributes: str, *, paper: bool = False) -> str:
    size = f"0 0 {_n(figure.width)} {_n(figure.height)}"
    ground = f'<rect width="100%" height="100%" fill="{colors["paper"]}"/>' if paper else ""
    marks = "".join(WRITERS[type(mark)](mark, lambda role: colors.get(role, role)) for mark in figure.marks)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" role="img"{attributes} '
        f'aria-label="{escaped(figure.about)}" font-family="{FONT}">{ground}{marks}</svg>'
    )


Color = Callable[[str], str]


def _line(mark: Line, color: Color) -> str:
    dashes = ' stroke-dasharray="5 4"' if mark.dashed else ""
    return (
        f'<path d="M{_path(mark.points)}" fill="none" stroke="{color(mark.color)}" stroke-width="{_n(mark.width)}"'
        f'{dashes} stroke-linejoin="round"/>'
    )


def _area(mark: Area, color: Color) -> str:
    return f'<path d="M{_path(mark.points)}z" fill="{color(mark.color)}" fill-opacity="{_n(mark.opacity)}"/>'


def _dots(mark: Dots, color: Color) -> str:
    layers = [(color(mark.color), 2.0)] if not mark.halo else [(color("paper"), 5.0), (color(mark.color), 2.0)]
    fill = "none" if mark.halo else color("paper") if mark.hollow else color(mark.color)
    stroke = [f' stroke="{ink}" stroke-width="{_n(width)}"' for ink, width in layers] if mark.hollow else [""]
    return "".join(
        f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(mark.radius)}" fill="{fill}"{around}/>'
        for around in stroke
        for x, y in mark.points.tolist()
    )


def _words(mark: Words, color: Color) -> str:
    bold = ' font-weight="600"' if mark.bold else ""
    halo = (
        f' stroke="{color("paper")}" stroke-width="4" paint-order="stroke" stroke-linejoin="round"' if mark.halo else ""
    )
    return (
        f'<text x="{_n(mark.x)}" y="{_n(mark.y)}" font-size="{_n(mark.size)}" text-anchor="{mark.anchor}"'
        f' fill="{color(mark.color)}"{bold}{halo}>{escaped(mark.text)}</text>'
    )


def _pixels(mark: Pixels, color: Color) -> str:
    sharp = "" if mark.smooth else ' style="image-rendering:pixelated"'
    data = base64.b64encode(png(mark)).decode()
    return (
        f'<image x="{_n(mark.x)}" y="{_n(mark.y)}" width="{_n(mark.width)}" height="{_n(mark.height)}"'
        f' preserveAspectRatio="none"{sharp} href="data:image/png;base64,{data}"/>'
    )


WRITERS: Mapping[type, Callable[[Any, Color], str]] = MappingProxyType(
    {Line: _line, Area: _area, Dots: _dots, Words: _words, Pixels: _pixels}
)


def png(mark: Pixels) -> bytes:
    """The image as a PNG file with a palette (PNG specification, color type 3)."""
    rows, columns = mark.indices.shape
    palette = np.array(mark.colors, dtype=np.uint8)
    scanlines = np.concatenate([np.zeros((rows, 1), np.uint8), mark.indices], axis=1)  # filter 0 before each
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),
        (b"PLTE", palette[:, :3].tobytes()),
        (b"tRNS", palette[:, 3].tobytes()),
        (b"IDAT", zlib.compress(scanlines.tobytes(), 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _path(points: Points) -> str:
    return "L".join(f"{_n(x)} {_n(y)}" for x, y in points.tolist())


def _n(value: float) -> str:
    """A length with two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
