"""Templates to pages that open without a server: everything is in the one file."""

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

SHARED = Path(__file__).parent / "templates"
"""Of the frame and the style of all pages."""


def render_page(template: Path, **values: Any) -> str:
    """The page that a template makes of `values`; the same values give the same bytes.

    Every value is escaped. The template may use those beside it and the shared ones: it extends
    `frame.html`.
    """
    return _environment(template.parent).get_template(template.name).render(values)


def to_script(value: Any) -> str:
    """JSON for a `<script type="application/json">`, which nothing within it can end.

    It is ASCII without `<`, `>` and `&`, whatever the value holds: safe for a template as it is.
    """
    written = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return written


@functools.cache
def _environment(folder: Path) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment
