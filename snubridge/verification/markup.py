"""Text inside of markup: whatever names, reasons and metadata say, they stay text."""

from __future__ import annotations

import html
import re

from snubridge.errors import one_line

_NO_XML = re.compile("[\ufdd0-\ufdef\ufffe\uffff]")


def escaped(value: object) -> str:
    """``str(value)`` as one line of text in HTML, XML, or an attribute in quotes."""
    return html.escape(_NO_XML.sub("\ufffd", one_line(str(value))))
