"""`blip capfilt report`: draw report.html of a finished job."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from blip.cli.from_dataclass import Options

EXAMPLES = """\
examples:
  blip capfilt report clean
  blip capfilt report clean --data 'moved/web/*.tar'

DIR/report.html needs no server and no other file and stays below 20 MB: what was kept of each
source, scores, lengths, words, and samples with their pictures and verdicts, the most changed
first. A job draws it at its end; this draws it again, or for a job that was stopped half way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportOptions:
    """Options of `blip capfilt report`."""

    job: Path
    """Folder of a job, or of a recut."""
    data: tuple[str, ...] = ()
    """The originals, for pictures; without it, those that DIR names."""
    json: bool = False
    """Print a JSON object."""


OPTIONS = Options(of=ReportOptions, arguments=("job",))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Draw, and say where."""
    from blip.capfilt.report.redraw import redraw_report
    from blip.cli.rows import print_result

    options = OPTIONS.read(args)
    page = str(redraw_report(options.job, options.data))
    print_result({"report": page}, page, json=options.json)
    return 0
