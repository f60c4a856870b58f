"""The totals of a CapFilt job, or of a recut, on stdout."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from blip.capfilt.config import STOPPED
from blip.errors import INTERRUPTED

if TYPE_CHECKING:
    from blip.capfilt.config import CapFiltConfig, RecutConfig
    from blip.capfilt.job import Summary
    from blip.capfilt.ledger.records import Counts
    from blip.capfilt.recut import RecutSummary


def run_and_print(
    work: "Callable[[], Summary | RecutSummary]",
    config: "CapFiltConfig | RecutConfig",
    *,
    json: bool = False,
) -> int:
    """Do the work and print its totals; the exit status, 130 where it was interrupted."""
    from blip.cli.rows import print_json
    from blip.log import say

    try:
        summary = work()
    except KeyboardInterrupt:
        # The terminal has shown ^C on this line.
        say("")
        say(STOPPED.format(out=config.out))
        return INTERRUPTED
    if json:
        print_json({"out": str(summary.out), **summary.to_json()})
    else:
        sys.stdout.write(describe_totals(summary.counts, summary.out, config.write))
    if summary.counts.images and not summary.counts.images_kept:
        say(
            f"no text was kept; {summary.out}/report.html shows the scores, and `blip capfilt "
            f"recut {summary.out} --threshold P --out DIR` applies another threshold"
        )
    return 0


def describe_totals(counts: "Counts", out: Path, write: str) -> str:
    """The totals as text, and where things lie."""
    rows = [
        ("images", counts.images, ""),
        ("  kept", counts.images_kept, "with at least one text"),
        ("  dropped", counts.images_dropped, "no text was kept" if counts.images_dropped else ""),
        ("  bad", counts.images_bad, "the ledger says why" if counts.images_bad else ""),
        ("web texts kept", counts.web_kept, _share_kept(*counts.texts("web"))),
        ("synthetic texts kept", counts.synthetic_kept, _share_kept(*counts.texts("synthetic"))),
    ]
    lines = [f"{name:<22}{number:>10}  {note}".rstrip() for name, number, note in rows]
    lines += [f"{write:<9}{out}/{write}", f"ledger   {out}/ledger", f"report   {out}/report.html"]
    return "\n".join(lines) + "\n"


def _share_kept(kept: int, dropped: int) -> str:
    return f"{kept / (kept + dropped):.1%} of {kept + dropped}" if kept + dropped else ""
