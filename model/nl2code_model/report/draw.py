"""Plots as SVG for the page: drawn by Vega, without a browser or a network, and let in element by element."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

from nl2code_server.errors import Nl2CodeError

VERSION = "6.1"
"""Of Vega-Lite."""
INSTALL = "run: pip install 'nl2code[report]'"
_SVG = "{http://www.w3.org/2000/svg}"
_ELEMENTS = frozenset({"svg", "g", "path", "line", "rect", "text", "tspan", "circle", "defs", "clipPath"})
_NAMES = """
    d fill stroke stroke-width stroke-dasharray stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity
    fill-opacity opacity transform x y x1 x2 y1 y2 cx cy r rx ry width height viewBox dx dy text-anchor font-family
    font-size font-weight font-style id clip-path display
    """
_ATTRIBUTES = frozenset(_NAMES.split())


def drawn(spec: Mapping[str, Any], label: str, key: str) -> str:
    """Return a plot as an SVG element that says in words what it shows. `key` keeps its ids apart from others'."""
    svg = _svg(json.dumps(spec, sort_keys=True))
    root = ElementTree.fromstring(svg)  # noqa: S314 - made by our own converter, from numbers and plain words
    _let_in(root, key)
    root.set("viewBox", f"0 0 {root.get('width')} {root.get('height')}")
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")


@lru_cache(maxsize=64)
def _svg(spec: str) -> str:
    try:
        import vl_convert
    except ImportError as error:
        raise Nl2CodeError("The plots need a library that is not installed", INSTALL) from error
    return str(vl_convert.vegalite_to_svg(spec, vl_version=VERSION, allowed_base_urls=[]))


def _let_in(element: ElementTree.Element, key: str) -> None:
    """Keep known elements and attributes alone, and drop what draws nothing."""
    element.tag = element.tag.removeprefix(_SVG)
    for name in list(element.attrib):
        if name not in _ATTRIBUTES:
            del element.attrib[name]
    if "id" in element.attrib:
        element.set("id", f"{key}-{element.get('id')}")
    if "clip-path" in element.attrib:
        element.set(
            "clip-path", re.sub(r"url\(#([\w-]+)\)", rf"url(#{key}-\1)", element.get("clip-path", ""))
        )
    for child in list(element):
        if child.tag.removeprefix(_SVG) not in _ELEMENTS or child.get("display") == "none":
            element.remove(child)
        else:
            _let_in(child, key)
