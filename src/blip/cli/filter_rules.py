"""Options for what is asked of a text beside a match: those of a job and of cutting it anew."""

import argparse
from typing import Any

from blip.cli import options

JOB_NAMES = ("max_repeats", "unique_images", "unique_texts")
NAMES = ("keep", "min_itc", "min_words", "max_words", "languages", "min_side", "max_aspect")


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Declare the options, as a group of their own."""
    rules = parser.add_argument_group("what else a text has to obey, off by default")
    rules.add_argument(
        "--keep", metavar="all|best-N", help="all texts that pass, or the N best of an image (all)"
    )
    rules.add_argument("--min-itc", type=options.finite_float, metavar="C", help="least ITC cosine")
    rules.add_argument(
        "--min-words", type=options.whole_number, metavar="N", help="fewest words of a text"
    )
    rules.add_argument(
        "--max-words", type=options.whole_number, metavar="N", help="most words of a text"
    )
    rules.add_argument(
        "--languages",
        nargs="+",
        metavar="LL",
        help="allowed, such as en ko (needs blip-capfilt[language])",
    )
    rules.add_argument(
        "--min-side",
        type=options.whole_number,
        metavar="PX",
        help="least shorter side of an image, in pixels",
    )
    rules.add_argument(
        "--max-aspect",
        type=options.finite_float,
        metavar="R",
        help="most longer side over shorter side",
    )


def read_rules(args: argparse.Namespace) -> dict[str, Any]:
    """Those that were given, by their names in `FilterRules`."""
    return {name: getattr(args, name) for name in NAMES if getattr(args, name) is not None}


def add_job_rules(parser: argparse.ArgumentParser) -> None:
    """Declare the options of what is asked of a text beside all others, as a group of their own."""
    whole = parser.add_argument_group("what it has to obey beside all others of the job")
    whole.add_argument(
        "--max-repeats",
        type=options.whole_number,
        metavar="N",
        help="drop texts that stand in the job more often",
    )
    whole.add_argument(
        "--unique-images",
        type=options.whole_number,
        metavar="BITS",
        help="drop images whose hash is as near to an earlier one (0 to 8)",
    )
    whole.add_argument(
        "--unique-texts",
        action="store_true",
        default=None,
        help="drop texts that stand earlier in the job",
    )


def read_job_rules(args: argparse.Namespace) -> dict[str, Any]:
    """Those that were given, by their names in `JobRules`."""
    return {name: getattr(args, name) for name in JOB_NAMES if getattr(args, name) is not None}
