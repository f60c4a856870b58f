"""What MkDocs does to pages beyond Markdown: drawings become a part of them, and all has a name."""

import re
from pathlib import Path
from typing import Any

DRAWING = re.compile(r'<img alt="[^"]*" src="(?:\.\./)*(assets/[\w-]+\.svg)" ?/?>')
SEARCH = 'data-md-component="search" role="dialog"'
"""The theme's dialogue for searches, to which it gives no name."""


def on_page_content(html: str, **_: Any) -> str:
    """An image of a drawing becomes the drawing, which follows the page's colours."""
    folder = Path(__file__).parent
    return DRAWING.sub(lambda found: (folder / found[1]).read_text(encoding="utf-8"), html)


def on_post_page(output: str, **_: Any) -> str:
    """Screen readers announce the search by its name."""
    return output.replace(SEARCH, f'{SEARCH} aria-label="Search"')
