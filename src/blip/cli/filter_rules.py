"""Options for what is asked of a text beside a match: those of a job and of cutting it anew."""

import argparse
from typing import Any

NAMES = ("keep", "min_itc", "min_words", "max_words", "languages", "min_side", "max_aspect")


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Declare the options, as a group of their own."""
    rules = parser.add_argument_group("what else a text has to obey, off by default")
    rules.add_argument(
        "--keep", metavar="all|best-N", help="all texts that pass, or the N best of an image (all)"
    )
    rules.add_argument("--min-itc", type=float, metavar="C", help="least ITC cosine")
    rules.add_argument("--min-words", type=int, metavar="N", help="fewest words of a text")
    rules.add_argument("--max-words", type=int, metavar="N", help="most words of a text")
    rules.add_argument(
        "--languages", nargs="+", metavar="LL", help="allowed, such as en ko (needs blip[language])"
    )
    rules.add_argument(
        "--min-side", type=int, metavar="PX", help="least shorter side of an image, in pixels"
    )
    rules.add_argument(
        "--max-aspect", type=float, metavar="R", help="most longer side over shorter side"
    )


def read_rules(args: argparse.Namespace) -> dict[str, Any]:
    """Those that were given, by their names in `FilterRules`."""
    return {name: getattr(args, name) for name in NAMES if getattr(args, name) is not None}
