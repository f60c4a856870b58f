"""Which shards are done already and which are waiting, by their content."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.ledger.files import count_rows
from blip.capfilt.ledger.records import Counts
from blip.capfilt.shards.layout import Layout, describe_output, holds_empty_tar
from blip.capfilt.shards.settings import UNWRITTEN, Settings
from blip.capfilt.shards.source import ShardTask, count_by_headers, is_same_input
from blip.config import strict
from blip.data.readers.remote import facts, is_remote
from blip.errors import BlipError, UsageError
from blip.files import parse_json
from blip.inference.fingerprint import DIGITS
from blip.log import say
from blip.outputs import JOB, remove_known

T = TypeVar("T")
MODELS = ("captioner", "filter")
"""Settings that are fingerprints of models."""
KEPT = ("batch_size", "precision", "compile")
"""What auto chooses, and a job keeps."""
FORMER_DIGITS = 16
"""Digits of a fingerprint of earlier versions, which covered weights alone."""
SHARDS_COUNTED = 16
"""Shards whose samples are counted for an estimate."""


class OtherJobError(UsageError):
    """The output folder holds a job with other settings or other shards."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The shards of a job."""

    tasks: list[ShardTask]
    """All shards, in their order."""
    done: dict[str, Counts]
    """Counts of the finished ones by name."""

    @property
    def waiting(self) -> list[ShardTask]:
        """Shards that are not done."""
        return [task for task in self.tasks if task.name not in self.done]


def make_plan(tasks: list[ShardTask], layout: Layout, settings: Settings) -> Plan:
    """Find out which shards are done.

    A shard is done if its marker is there, was written for the same input and settings, and its
    files are there. A shard whose input changed is done again; new shards are done, too. Raises
    OtherJobError if the output has other settings, or shards that are not in `tasks`.
    """
    markers = {path.stem: read_marker(path) for path in layout.markers()}
    names = {task.name for task in tasks}
    unnamed = sorted(markers.keys() - names)
    if unnamed:
        raise OtherJobError(
            f"{layout.out} holds {len(unnamed)} shards that --data does not name, first "
            f"{unnamed[0]!r}; name all shards of the first run; --overwrite "
            "replaces them, another --out keeps both"
        )
    done = {}
    listings: dict[str, list[Path]] = {}
    for task in tasks:
        marker = markers.get(task.name)
        if marker is None:
            continue
        check_settings(layout, marker, settings.to_json())
        counts = Counts.from_json(marker["counts"])
        if _is_current(marker, task, layout, listings) and not holds_empty_tar(
            layout, task.name, counts
        ):
            done[task.name] = counts
    return Plan(tasks, done)


def plan_anew(plan: Callable[[], T], layout: Layout, *, overwrite: bool) -> T:
    """The result of `plan`; if it raises OtherJobError, `overwrite` clears the folder first.

    Any other error leaves the folder as it is: starting anew would not mend it.
    """
    try:
        return plan()
    except OtherJobError as error:
        if not overwrite:
            raise
        say(f"starting from scratch: {error}")
        remove_known(layout.out, JOB.files)
        return plan()


def resume_settings(config: CapFiltConfig, layout: Layout) -> CapFiltConfig:
    """Replace auto by the values of the job in the folder, if one has begun.

    They are in its markers, or in config.json where the job has not finished its first shard.
    Raises OtherJobError if what is asked for cannot go with one of them.
    """
    markers = filter(None, map(read_marker, layout.markers()))
    begun = next((marker["settings"] for marker in markers), None) or _noted(layout)
    asked = {name: value for name in KEPT if (value := getattr(config, name)) != "auto"}
    chosen = {name: begun[name] for name in KEPT if name in begun and name not in asked}
    together = {**begun, **asked}
    if together.get("precision") == "int8" and together.get("compile") == "on":
        check_settings(layout, {"settings": begun}, together)
    try:
        return strict.from_json(CapFiltConfig, {**strict.to_json(config), **chosen})
    except UsageError:
        # The folder's config.json is not that of a CapFilt job.
        return config


def _noted(layout: Layout) -> dict[str, Any]:
    try:
        noted = strict.load_json(layout.out / "config.json")
    except UsageError:
        return {}
    return noted if isinstance(noted, dict) else {}


def estimate_samples(tasks: Sequence[ShardTask]) -> int:
    """About how many samples some shards hold, by the headers of a few tars; for progress bars."""
    rows = sum(task.stop - task.start for task in tasks if task.start is not None)
    tars = [task for task in tasks if task.start is None]
    looked = tars[:: max(1, -(-len(tars) // SHARDS_COUNTED))]
    if any(is_remote(task.path) for task in looked):
        # Counting one means fetching it.
        looked = looked[:1]
    sizes = [_bytes(task) for task in looked]
    # What is wrong with a shard is reported when it is processed.
    samples = sum(count_by_headers(task)[0] for task in looked if not _is_gone(task))
    if len(looked) == len(tars) or sum(sizes) == 0:
        return rows + samples
    return rows + round(samples * sum(_bytes(task) for task in tars) / sum(sizes))


def check_whole(tasks: Sequence[ShardTask], layout: Layout, counts: dict[str, Counts]) -> None:
    """Raises BlipError unless every shard has counts, and its ledger as many rows as they say.

    Whether a shard's counts cover all its samples is checked when it is processed.
    """
    if lost := {task.name for task in tasks} ^ counts.keys():
        raise BlipError(f"{len(lost)} shards have no counts, first {min(lost)!r}")
    for name, of_shard in counts.items():
        of_shard.check(of_shard.images)
        rows = count_rows(layout.ledger(name))
        if rows != of_shard.records:
            raise BlipError(
                f"{layout.ledger(name)} has {rows} rows where {of_shard.records} were written; "
                f"delete {layout.marker(name)} and run again"
            )


def _bytes(task: ShardTask) -> int:
    if is_remote(task.path):
        return facts(task.path).size
    path = Path(task.path)
    return path.stat().st_size if path.exists() else 0


def _is_gone(task: ShardTask) -> bool:
    return not is_remote(task.path) and not Path(task.path).is_file()


def read_marker(path: Path) -> dict[str, Any] | None:
    """The content of a marker; None where it is not a marker of ours: its shard is done again."""
    try:
        marker = parse_json(path.read_text(encoding="utf-8"))
        Counts.from_json(marker["counts"])
        ours = marker.keys() >= {"input", "output"} and isinstance(marker["settings"], dict)
        if not ours:
            return None
        return {**marker, "settings": strict.with_current_names(Settings, marker["settings"])}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, UsageError):
        return None


def check_settings(layout: Layout, marker: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises OtherJobError if a marker was written with settings other than `now`."""
    before = {**UNWRITTEN, **marker["settings"]}
    now = {**UNWRITTEN, **json.loads(json.dumps(now))}
    changed = [
        f"{name} {_short(before.get(name))} (now {_short(now.get(name))})"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changed and all(_names_weights_alone(before.get(n), now.get(n)) for n in MODELS):
        raise OtherJobError(
            f"{layout.out} was begun by an earlier version, which identified models by their "
            "weights alone; finish it with that version, or choose another --out "
            "(`blip capfilt recut` still reads its ledgers)"
        )
    if changed:
        other = [name for name in MODELS if before.get(name) != now.get(name)]
        why = f" (the weights, tokenizer or sizes of {' and '.join(other)} differ)" if other else ""
        raise OtherJobError(
            f"{layout.out} was made with {', '.join(changed)}{why}; --overwrite replaces it, "
            "another --out keeps both"
        )


def _names_weights_alone(before: Any, now: Any) -> bool:
    """Whether `before` is a fingerprint of an earlier version, and `now` one of today."""
    both_texts = isinstance(before, str) and isinstance(now, str)
    return both_texts and len(before) == FORMER_DIGITS and len(now) == DIGITS


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} {entry}" for name, entry in value.items()) + "}"
    return str(value)


def _is_current(
    marker: dict[str, Any], task: ShardTask, layout: Layout, listings: dict[str, list[Path]]
) -> bool:
    try:
        if describe_output(layout, task.name) != marker["output"]:
            return False
        return is_same_input(task, marker["input"], listings)
    except (OSError, KeyError, TypeError):
        return False
