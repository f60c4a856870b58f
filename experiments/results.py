"""Where results of an experiment go: a key of its results.json, and a table of its page."""

import re
from pathlib import Path
from typing import Any

from blip.config.strict import load_json
from blip.files import write_atomically, write_json

MARKS = r"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)"
"""A table stands between `<!-- NAME -->` and `<!-- end -->`."""


def write_results(folder: Path, name: str, result: dict[str, Any], table: str) -> None:
    """Put a result in the place of its earlier one, and beside those of other names."""
    path, readme = folder / "results.json", folder / "README.md"
    written = load_json(path) if path.is_file() else {}
    write_json(path, {**written, name: result})
    if readme.is_file():
        marks = re.compile(MARKS.format(name=name), re.DOTALL)
        write_atomically(readme, marks.sub(lambda _: table + "\n", readme.read_text("utf-8")))
