"""`blip capfilt recut`: another data set of a finished job, without a model."""

import argparse
from dataclasses import dataclass

from blip.capfilt.config import RecutConfig
from blip.cli.capfilt import RULES, THE_JOB
from blip.cli.from_dataclass import Options
from blip.cli.options import LEDGER_OPTION

EXAMPLES = """\
examples:
  blip capfilt recut clean --threshold 0.8 --out stricter
  blip capfilt recut clean --keep best-1 --out one-text-an-image
  blip capfilt recut clean --unique-texts --unique-images 3 --max-repeats 100 --out unique
  blip capfilt recut clean/ledger --data 'web/*.tar' --write texts --out texts

OUT is what the job itself would have made: the same bytes of shards and ledger. Images are read
from the originals (those that config.json of the job names, or --data), so that dropped texts can
come back; --write texts reads no image. If it is stopped or killed, run the same command again to
resume. Repeated texts and images are found over the whole job, and the first in the order of shards
stays."""

RENAMED = (LEDGER_OPTION,)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecutOptions:
    """Options of `blip capfilt recut`, beside its configuration."""

    overwrite: bool = False
    """Replace what was cut by other rules into DIR."""
    json: bool = False
    """Print a JSON object."""


OPTIONS = Options(of=RecutOptions, groups={THE_JOB: ("overwrite", "json")})
JOB = Options(of=RecutConfig, arguments=("ledger",), groups={THE_JOB: ("",), **RULES})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    JOB.declare(parser)
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Recut; 130 where it was interrupted."""
    from blip.cli.totals import run_and_print

    config, options = JOB.read(args), OPTIONS.read(args)
    from blip.capfilt.recut import recut

    return run_and_print(
        lambda: recut(config, overwrite=options.overwrite), config, json=options.json
    )
