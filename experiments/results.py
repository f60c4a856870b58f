"""Where results of an experiment go: a key of its results.json, and a table of its page."""

import re
from pathlib import Path
from typing import Any

from blip.config.strict import load_json
from blip.errors import BlipError
from blip.files import write_atomically, write_json

MARKS = r"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)"
"""A table stands between `<!-- NAME -->` and `<!-- end -->`."""


def write_results(folder: Path, name: str, result: dict[str, Any], table: str) -> None:
    """Put a result in the place of its earlier one, and beside those of other names."""
    path, readme = folder / "results.json", folder / "README.md"
    written = load_json(path) if path.is_file() else {}
    write_json(path, {**written, name: result})
    if readme.is_file():
        write_atomically(readme, _replace(readme.read_text("utf-8"), name, table)[0])


def put_table(text: str, name: str, table: str) -> str:
    """A page whose table `name` is replaced; raises BlipError if it has no place for one."""
    replaced, count = _replace(text, name, table)
    if count != 1:
        raise BlipError(f"README.md lacks the lines <!-- {name} --> and <!-- end -->")
    return replaced


def _replace(text: str, name: str, table: str) -> tuple[str, int]:
    marks = re.compile(MARKS.format(name=name), re.DOTALL)
    return marks.subn(lambda _: table + "\n", text)
