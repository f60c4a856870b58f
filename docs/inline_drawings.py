"""Puts drawings into pages as SVG, so that they follow the page's colours and are read aloud."""

import re
from pathlib import Path
from typing import Any

DRAWING = re.compile(r'<img alt="[^"]*" src="(?:\.\./)*(assets/[\w-]+\.svg)" ?/?>')


def on_page_content(html: str, **_: Any) -> str:
    """Called by MkDocs for each page: an image of a drawing becomes the drawing."""
    folder = Path(__file__).parent
    return DRAWING.sub(lambda found: (folder / found[1]).read_text(encoding="utf-8"), html)
