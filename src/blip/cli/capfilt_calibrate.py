"""`blip capfilt calibrate`: choose a threshold by labelled texts."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from blip.cli.from_dataclass import Options
from blip.cli.options import LEDGER_OPTION, Renamed
from blip.config.ranges import PLACE, SHARE_ABOVE_ZERO, check_fields

EXAMPLES = """\
examples:
  blip capfilt calibrate clean --labels labels.csv --target-precision 0.95
  blip capfilt calibrate clean --labels labels.jsonl --score itc_cosine --out calibration

Labels are rows of key, match (0 or 1), and text or source (web, synthetic), in CSV, TSV, JSONL or
Parquet; `number` says which text of a source (0), `shard` where it is, if keys repeat. The choice
is printed, and written to calibration.md, .svg and .json beside the ledger. Exit status 1 where no
threshold reaches the precision."""

RENAMED = (LEDGER_OPTION, Renamed("--precision", "--target-precision"))

FAULTS_NAMED = 5
"""Labels that cannot be used, and are named on stderr."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrateOptions:
    """Options of `blip capfilt calibrate`."""

    ledger: Annotated[str, PLACE]
    """Folder of a job, or its ledger/."""
    labels: Path
    """Labelled texts."""
    target_precision: Annotated[float, SHARE_ABOVE_ZERO] = 0.95
    """Share of matches among the texts that are kept."""
    score: Literal["itm_score", "itc_cosine"] = "itm_score"
    """Score that the threshold is for."""
    out: Path | None = None
    """Folder for what is written; without it, DIR/calibration."""
    overwrite: bool = False
    """Replace another result in the folder."""
    json: bool = False
    """Print the choice as JSON."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)


OPTIONS = Options(of=CalibrateOptions, arguments=("ledger",))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Choose, write, print."""
    from blip.capfilt.calibrate import calibrate, check_reached, describe, write_calibration
    from blip.capfilt.ledger.files import find_ledgers
    from blip.cli.rows import print_json
    from blip.log import say
    from blip.outputs import CALIBRATION, refuse_inputs_as_output

    options = OPTIONS.read(args)
    job = Path(options.ledger)
    ledgers = find_ledgers(job)
    of_job = job if ledgers[0].parent != job else job.parent
    folder = options.out or of_job / "calibration"
    refuse_inputs_as_output([options.labels, *ledgers], folder, CALIBRATION)
    calibration = calibrate(ledgers, options.labels, options.target_precision, options.score)
    write_calibration(calibration, folder, overwrite=options.overwrite)
    if options.json:
        choice = {name: part for name, part in calibration.to_json().items() if name != "curves"}
        print_json(choice)
    else:
        print(describe(calibration).replace("![](calibration.svg)\n\n", ""), end="")
    for fault in calibration.labelled.faults[:FAULTS_NAMED]:
        say(f"left out: {fault}")
    if len(calibration.labelled.faults) > FAULTS_NAMED:
        say(f"left out: {len(calibration.labelled.faults)} in all, see calibration.json")
    say(f"curves: {folder}/calibration.md")
    check_reached(calibration)
    return 0
