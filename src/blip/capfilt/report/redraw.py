"""Draws the report of a job again, from the files in its folder."""

from collections.abc import Sequence
from pathlib import Path

from blip.capfilt.ledger.columns import count_table
from blip.capfilt.ledger.files import find_ledgers, read_groups
from blip.capfilt.ledger.records import Counts
from blip.capfilt.progress.plan import read_marker
from blip.capfilt.report.draw import write_report
from blip.capfilt.shards.layout import Layout
from blip.capfilt.shards.originals import find_originals
from blip.capfilt.shards.source import ShardTask
from blip.errors import BlipError, UsageError
from blip.log import progress, say
from blip.outputs import refuse_inputs_as_output


def redraw_report(job: Path, data: Sequence[str] = ()) -> Path:
    """Write `job/report.html` of the shards that are done; returns its path.

    Without the originals it has no pictures. A ledger that cannot be read is left out and named.
    Raises UsageError if no shard is finished, BlipError if no ledger can be read.
    """
    refuse_inputs_as_output(data, job / "report.html")
    layout = Layout(job)
    names = [ledger.stem for ledger in find_ledgers(job) if ledger.parent == job / "ledger"]
    markers = {name: read_marker(layout.marker(name)) for name in names}
    done = [name for name, marker in markers.items() if marker is not None]
    if not done:
        raise UsageError(f"{job} holds no finished shard of a job")
    if len(done) < len(names):
        say(f"report: {len(names) - len(done)} shards are not finished, and left out")
    settings = next(marker["settings"] for marker in markers.values() if marker is not None)
    originals: dict[str, ShardTask] = {}
    try:
        originals = find_originals(job, data)
    except UsageError as error:
        say(f"report: no pictures: {error}")
    counts, whole = Counts(), []
    with progress(len(done), "report", "shards") as bar:
        for name in done:
            of_shard = Counts()
            try:
                for group in read_groups(layout.ledger(name)):
                    of_shard.add(count_table(group))
            except BlipError as error:
                say(f"report: left out: {error}")
            else:
                counts.add(of_shard)
                whole.append(name)
            bar.advance()
    if not whole:
        raise BlipError(f"no ledger of {job} can be read")
    tasks = [originals.get(name, ShardTask(name=name, path="")) for name in whole]
    return write_report(layout, tasks, counts, settings)
