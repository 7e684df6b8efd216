"""Render a page from templates: everything from data is escaped, and pictures are part of the file.

A room's page extends ``base.html.jinja`` and takes its building blocks (tables that scroll in their own box, pictures
with captions) from ``parts.html.jinja``. Both, and the style sheet, lie in ``templates`` of this room.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.html.figures import format_duration, format_figure, format_interval, format_percent, format_time

if TYPE_CHECKING:
    from jinja2 import Environment

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A PNG picture as part of a page.

    Attributes:
        source: The picture as a data URI.
        width: Its width in pixels.
        height: Its height in pixels.
    """

    source: str
    width: int
    height: int


def embed(content: bytes) -> Picture | None:
    """Make a PNG file part of a page; None for bytes that are no PNG file.

    Args:
        content: The bytes of the file.
    """
    if not content.startswith(_PNG) or len(content) < 24:
        return None
    # The first chunk of a PNG file, IHDR, begins with width and height. The browser keeps that room free.
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    return Picture(f"data:image/png;base64,{base64.b64encode(content).decode()}", width, height)


def embed_file(path: Path) -> Picture | None:
    """Make a picture part of a page; None where there is no such file, or it is no PNG file."""
    return embed(path.read_bytes()) if path.is_file() else None


def make_environment(packages: Sequence[str]) -> Environment:
    """Return the Jinja environment of a room's pages. It escapes everything that a template shows.

    Args:
        packages: The rooms in whose ``templates`` folders the page and its parts lie, such as ``gti_cli.pages``. The
            first one that has a template is used; this room's own come last.
    """
    # Jinja is needed for pages alone, so it is not loaded with the module.
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "templates") for package in (*packages, "gti_cli.html")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        figure=format_figure,
        interval=format_interval,
        percent=format_percent,
        duration=format_duration,
        time=format_time,
    )
    return environment


def render_page(packages: Sequence[str], template: str, **data: Any) -> str:
    """Return the text of a page.

    Args:
        packages: The rooms that have the templates, see `make_environment`.
        template: Name of the page's template.
        **data: What the template needs.
    """
    return make_environment(packages).get_template(template).render(**data)
