"""`blip capfilt report`: draw report.html of a finished job."""

import argparse

from blip.cli import options

EXAMPLES = """\
examples:
  blip capfilt report clean
  blip capfilt report clean --data 'moved/web/*.tar'

DIR/report.html needs no server and no other file and stays below 20 MB: what was kept of each
source, scores, lengths, words, and samples with their pictures and verdicts, the most changed
first. A job draws it at its end; this draws it again, or for a job that was stopped half way."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "job", type=options.input_path, metavar="DIR", help="folder of a job, or of one cut anew"
    )
    parser.add_argument(
        "--data", nargs="+", metavar="DATA", help="the originals, for pictures (as DIR says)"
    )


def run(args: argparse.Namespace) -> int:
    """Draw, and say where."""
    from blip.capfilt.report.redraw import redraw_report

    print(redraw_report(args.job, tuple(args.data or ())))
    return 0
