"""The command `blip`: finds the verb, turns errors into one line; loads no torch by itself."""

import argparse
import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from blip.errors import BlipError, UsageError

VERBS = {
    "demo": "the main job on the built-in data, in ten minutes",
    "bootstrap": "the main job: pre-train, clean the web pairs, pre-train on what is left",
    "capfilt": "caption the images of some shards, drop all texts that do not match",
    "caption": "write captions for pictures",
    "match": "tell how well texts match a picture",
    "pretrain": "pre-train a model",
    "evaluate": "retrieval and captioning figures of a checkpoint",
    "data": "pack, inspect or draw shards",
}
"""Verb to its one line; `blip.cli.VERB` holds its arguments and its work."""

INTERRUPTED = 130
TRACEBACK = "BLIP_TRACEBACK"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return _run(arguments)
    except BlipError as error:
        if TRACEBACK in os.environ:
            traceback.print_exc()
        print(f"blip: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("\nblip: stopped; the same command goes on where it can", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left; nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"blip {version('blip')}")
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(VERBS)}"
        raise UsageError(f"{verb} is no command; {hint}")
    module = importlib.import_module(f"blip.cli.{verb}")
    parser = make_parser(verb, module)
    if getattr(module, "TAKES_OVERRIDES", False):
        args, overrides = parser.parse_known_args(arguments[1:])
        args.overrides = overrides
    else:
        args = parser.parse_args(arguments[1:])
    return module.run(args)


def make_parser(verb: str, module: Any) -> argparse.ArgumentParser:
    """The parser of one verb, with its examples."""
    parser = _Parser(
        prog=f"blip {verb}",
        description=VERBS[verb],
        epilog=module.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return parser


def _overview() -> str:
    width = max(map(len, VERBS)) + 2
    lines = [f"  blip {verb:<{width}}{line}" for verb, line in VERBS.items()]
    return "\n".join(
        [
            "BLIP: a vision-language model that understands, writes and cleans its own data.",
            "",
            *lines,
            "",
            "`blip VERB --help` shows arguments and examples; start with `blip demo`.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
