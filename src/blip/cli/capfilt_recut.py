"""`blip capfilt recut`: another data set of a finished job, without a model."""

import argparse
import sys
from typing import Any

from blip.cli import options
from blip.cli.filter_rules import add_job_rules, add_rules, read_job_rules, read_rules

EXAMPLES = """\
examples:
  blip capfilt recut clean --threshold 0.8 --out stricter
  blip capfilt recut clean --keep best-1 --out one-text-an-image
  blip capfilt recut clean --unique-texts --unique-images 3 --max-repeats 100 --out unique
  blip capfilt recut clean/ledger --data 'web/*.tar' --write texts --out texts

OUT is what the job itself would have made: the same bytes of shards and ledger. Images are read
from the originals (those that config.json of the job names, or --data), so that dropped texts can
come back; --write texts reads no image. What was stopped, or killed, goes on with the same command.
Repeated texts and images are found over the whole job, and the first in the order of shards
stays."""

RENAMED = (options.LEDGER_OPTION,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_ledger(parser)
    job = parser.add_argument_group("the job")
    job.add_argument(
        "--out",
        type=options.path_text,
        required=True,
        metavar="DIR",
        help="folder for what is made",
    )
    job.add_argument(
        "--threshold",
        type=options.finite_float,
        metavar="T",
        help="least match probability kept (0.5)",
    )
    job.add_argument(
        "--data", nargs="+", metavar="DATA", help="the originals (as the job's config.json says)"
    )
    job.add_argument(
        "--write", choices=("shards", "texts"), help="images and texts, or texts alone (shards)"
    )
    job.add_argument(
        "--overwrite", action="store_true", help="replace what was cut by other rules into DIR"
    )
    add_rules(parser)
    add_job_rules(parser)


def run(args: argparse.Namespace) -> int:
    """Cut anew; 130 where it was interrupted."""
    from blip.capfilt.config import RecutConfig
    from blip.cli.capfilt import describe_counts
    from blip.config import strict
    from blip.log import say

    given: dict[str, Any] = {"ledger": args.ledger, "out": args.out}
    given |= {"rules": read_rules(args), "job_rules": read_job_rules(args)}
    for name in ("threshold", "data", "write"):
        if getattr(args, name) is not None:
            given[name] = getattr(args, name)
    with options.naming_options(options.given_options(args) - {"ledger"}):
        config = strict.from_json(RecutConfig, given)
    from blip.capfilt.recut import recut

    try:
        summary = recut(config, overwrite=args.overwrite)
    except KeyboardInterrupt:
        say(f"\nstopped; finished shards are kept in {config.out}, the same command goes on")
        return 130
    sys.stdout.write(describe_counts(summary.counts, summary.out, config.write))
    return 0
