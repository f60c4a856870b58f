"""Writes docs/reference/cli.md from the parsers of `blip`; `--check` only says whether it is stale.

The text is put together here and not by argparse, whose layout differs between Python versions.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from blip.cli.main import GROUPS, actions_of, make_parser

PAGE = Path(__file__).parent / "reference" / "cli.md"
HEAD = """\
# Command line

Written by `make docs` from the commands themselves; `blip VERB --help` shows the same.
Results go to stdout, progress and talk to stderr. Exit status: 0 done, 1 failed, 2 wrong usage,
130 interrupted. `blip --version` names the version, `blip --traceback VERB ...` (or
`BLIP_TRACEBACK=1`) shows where an error came from.
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for group, verbs in GROUPS.items():
        lines.append(f"## {group.capitalize()}\n")
        for verb, line in verbs.items():
            parser = make_parser(verb)
            lines += [f"### blip {verb}\n", f"{_sentence(line)}\n"]
            lines += _options(parser, f"blip {verb}")
            lines += ["```text", parser.epilog or "", "```\n"]
            for action, told in actions_of(verb).items():
                parser = make_parser(f"{verb} {action}")
                lines += [f"#### blip {verb} {action}\n", f"{_sentence(told)}\n"]
                lines += _options(parser, f"blip {verb} {action}")
                lines += ["```text", parser.epilog or "", "```\n"]
    return "\n".join(lines)


def _options(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    actions = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    nested = [a for a in actions if isinstance(a, argparse._SubParsersAction)]
    rows = [_row(action) for action in actions if action not in nested]
    if rows:
        yield from ("| argument | meaning |", "| --- | --- |", *rows, "")
    for action in nested:
        told = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for key, inner in action.choices.items():
            yield f"#### {name} {key}\n"
            yield f"{_sentence(told.get(key, ''))}\n"
            yield from _options(inner, f"{name} {key}")


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings)
    if action.nargs != 0:
        name = f"{name} {_value(action)}".strip()
    told = [(action.help or "").replace("%%", "%")]
    if action.required and action.option_strings:
        told.append("must be given")
    return f"| `{_cell(name)}` | {_cell('; '.join(filter(None, told)))} |"


def _value(action: argparse.Action) -> str:
    value = action.metavar or action.dest.upper()
    text = " ".join(value) if isinstance(value, tuple) else value
    if action.choices:
        text = "|".join(map(str, action.choices))
    return text + {"+": " ...", "*": " ..."}.get(str(action.nargs), "")


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
