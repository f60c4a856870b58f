"""Finds the shards that a finished job read, by the names of its ledgers."""

from collections.abc import Sequence
from pathlib import Path

from blip.capfilt.config import ROWS, CapFiltConfig, RecutConfig
from blip.capfilt.shards.source import ShardTask, find_shards
from blip.config import strict
from blip.data.readers.remote import COMMAND
from blip.errors import UsageError

CONFIG, RECUT = "config.json", "recut.json"
"""Configurations in the folder of a job and of a recut."""


def find_originals(job: Path, data: Sequence[str]) -> dict[str, ShardTask]:
    """The shards of the originals by name: those of `data`, or those that the job says it read.

    A `pipe:` command is run only where `data` names it: the folder may come from someone else.
    Raises UsageError if neither names any, if one is missing, and for a command in the
    folder.
    """
    found = _read_config(job)
    data = tuple(data)
    if found is None and not data:
        raise UsageError(f"{job} has no {CONFIG} that says what was read; name it with --data")
    rows = ROWS if found is None else found.rows
    if data or found is None:
        return {task.name: task for task in find_shards(data, rows, need_text=False)}
    try:
        tasks = find_shards(found.data, rows, need_text=False)
    except UsageError as error:
        raise UsageError(
            f"{error} (as {job / CONFIG} says, seen from where the job was started); "
            "name the originals with --data"
        ) from error
    command = next((task.path for task in tasks if task.path.startswith(COMMAND)), None)
    if command is not None:
        raise UsageError(
            f"{job / CONFIG} reads {command!r}, and commands are run only where --data names them; "
            "name it with --data"
        )
    return {task.name: task for task in tasks}


def _read_config(job: Path) -> CapFiltConfig | None:
    """The configuration of the job, or of the job that was recut; None where it is missing."""
    if (job / CONFIG).is_file():
        return strict.from_json(CapFiltConfig, strict.load_json(job / CONFIG))
    if not (job / RECUT).is_file():
        return None
    cut = strict.from_json(RecutConfig, strict.load_json(job / RECUT))
    ledger = Path(cut.ledger)
    found = _read_config(ledger if (ledger / "ledger").is_dir() else ledger.parent)
    if found is None or not cut.data:
        return found
    return strict.from_json(CapFiltConfig, {**strict.to_json(found), "data": list(cut.data)})
