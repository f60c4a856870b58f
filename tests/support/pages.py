"""The pages of the documentation and their code blocks."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "experiments").rglob("README.md"))


class Block(NamedTuple):
    """A code block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def all_blocks() -> list[Block]:
    """Those of all pages and languages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text[: match.start()].count("\n") + 1
            found.append(Block(page, line, match[1], match[2]))
    return found


def blocks(*languages: str) -> list[Block]:
    """Those in these languages."""
    return [block for block in all_blocks() if block.language in languages]


def without_blocks(page: Path) -> str:
    """The text of a page outside its code blocks."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


class Call(NamedTuple):
    """A call of `blip` in a shell script."""

    words: list[str]
    """Without the name of the program."""
    piped: bool
    """Whether another program lists its pictures."""
    together: bool
    """Whether torchrun starts it several times."""


def calls_of_blip(text: str) -> list[Call]:
    """The lines of a shell script that call `blip`: after variables, in a pipe, by torchrun."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        before, _, last = line.rpartition(" | ")
        words = shlex.split(last, comments=True)
        words = words[: words.index(">")] if ">" in words else words
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        together = words[:1] == ["torchrun"]
        if together:
            words = words[words.index("-m") + 1 :]
        if words and words[0] in ("blip", ".venv/bin/blip"):
            found.append(Call(words[1:], bool(before), together))
    return found
