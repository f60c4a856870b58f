"""Writes docs/reference/cli.md from the parsers of `blip`; `--check` only says whether it is stale.

The text is put together here and not by argparse, whose layout differs between Python versions.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from blip.cli.main import GROUPS, actions_of, make_parser
from blip.cli.parser import Parser

PAGE = Path(__file__).parent / "reference" / "cli.md"
HEAD = """\
# Command line

Written by `make docs` from the commands themselves; `blip VERB --help` shows the same.
Results go to stdout, progress and messages to stderr. Exit status: 0 done, 1 failed, 2 wrong usage,
130 interrupted. `blip --version` names the version, `blip --traceback VERB ...` (or
`BLIP_TRACEBACK=1`) shows where an error came from.
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for group, verbs in GROUPS.items():
        lines.append(f"## {group.capitalize()}\n")
        for verb, line in verbs.items():
            lines += _command(f"blip {verb}", line, make_parser(verb), "###")
            for action, below in actions_of(verb).items():
                name = f"blip {verb} {action}"
                lines += _command(name, below, make_parser(f"{verb} {action}"), "####")
    return "\n".join(lines)


def _command(name: str, line: str, parser: Parser, heading: str) -> Iterator[str]:
    yield f"{heading} {name}\n\n{_sentence(line)}\n"
    rows = [f"| `{_cell(usage)}` | {_cell(meaning)} |" for usage, meaning in parser.arguments()]
    if rows:
        yield from ("| argument | meaning |", "| --- | --- |", *rows, "")
    for action, below, inner in parser.actions():
        yield from _command(f"{name} {action}", below, inner, "####")
    if parser.epilog:
        yield from ("```text", parser.epilog, "```\n")
    topics = {topic.prog: topic for topic in (make() for make in parser.topics.values())}
    for prog, topic in topics.items():
        yield f"#### {prog}\n\n{_sentence(topic.description or '')}\n"
        yield from ("```text", topic.epilog or "", "```\n")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` compare it."""
    text = page()
    if "--check" in arguments:
        fresh = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        if not fresh:
            print(f"{PAGE} is stale: run `make docs`", file=sys.stderr)
        return 0 if fresh else 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
