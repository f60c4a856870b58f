"""`blip capfilt calibrate`: choose a threshold by labelled texts."""

import argparse
from pathlib import Path

from blip.cli import options

EXAMPLES = """\
examples:
  blip capfilt calibrate clean --labels labels.csv --target-precision 0.95
  blip capfilt calibrate clean --labels labels.jsonl --score itc_cosine --out calibration

Labels are rows of key, match (0 or 1), and text or source (web, synthetic), in CSV, TSV, JSONL or
Parquet; `number` says which text of a source (0), `shard` where it is, if keys repeat. The choice
is printed, and written to calibration.md, .svg and .json beside the ledger. Exit status 1 where no
threshold reaches the precision."""

RENAMED = (options.LEDGER_OPTION, options.Renamed("--precision", "--target-precision"))

FAULTS_TOLD = 5
"""Labels that cannot be used, and are named on stderr."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_ledger(parser)
    parser.add_argument(
        "--labels", type=options.input_path, required=True, metavar="FILE", help="labelled texts"
    )
    parser.add_argument(
        "--target-precision",
        type=options.share,
        default=0.95,
        metavar="P",
        help="share of matches among the texts that are kept (0.95)",
    )
    parser.add_argument(
        "--score",
        choices=("itm_score", "itc_cosine"),
        default="itm_score",
        help="what the threshold is for (itm_score)",
    )
    parser.add_argument(
        "--out",
        type=options.output_folder,
        metavar="DIR",
        help="folder for what is written (DIR/calibration)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace another result in the folder"
    )
    parser.add_argument("--json", action="store_true", help="print the choice as JSON")


def run(args: argparse.Namespace) -> int:
    """Choose, write, print."""
    from blip.capfilt.calibrate import calibrate, check_reached, describe, write_calibration
    from blip.capfilt.ledger.files import find_ledgers
    from blip.files import json_text
    from blip.log import say
    from blip.outputs import CALIBRATION, refuse_inputs_as_output

    job = Path(args.ledger)
    ledgers = find_ledgers(job)
    of_job = job if ledgers[0].parent != job else job.parent
    folder = args.out or of_job / "calibration"
    refuse_inputs_as_output([args.labels, *ledgers], folder, CALIBRATION)
    found = calibrate(ledgers, args.labels, args.target_precision, args.score)
    write_calibration(found, folder, overwrite=args.overwrite)
    if args.json:
        told = {name: value for name, value in found.to_json().items() if name != "curves"}
        print(json_text(told))
    else:
        print(describe(found).replace("![](calibration.svg)\n\n", ""), end="")
    for fault in found.labelled.faults[:FAULTS_TOLD]:
        say(f"left out: {fault}")
    if len(found.labelled.faults) > FAULTS_TOLD:
        say(f"left out: {len(found.labelled.faults)} in all, see calibration.json")
    say(f"curves: {folder}/calibration.md")
    check_reached(found)
    return 0
