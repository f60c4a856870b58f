"""The configuration of a run in its folder: what a later command changes, and since which step."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from blip.config.strict import from_json, load_json, to_json
from blip.errors import UsageError
from blip.files import write_json
from blip.outputs import Kind

Config = TypeVar("Config")

HISTORY = "history"
"""Beside the keys of a configuration in config.json: all configurations of the run, oldest first,
each with the step from which it held. It is there only where a run was resumed with another one."""
SHOWN = 60
"""Most characters of a value in a message."""
NAMED = 4
"""Changes that a message names."""


def load_config(cls: type[Config], path: Path) -> Config:
    """The (newest) configuration in a config.json; raises UsageError if it does not fit."""
    data = load_json(path)
    if not isinstance(data, dict):
        raise UsageError(f"{path} must hold a JSON object")
    data.pop(HISTORY, None)
    return from_json(cls, data, where=str(path))


def holds_config(cls: type[Config], path: Path) -> bool:
    """Whether a file holds a configuration of this class."""
    try:
        load_config(cls, path)
    except UsageError:
        return False
    return True


def is_earlier_run(cls: type[Any], out: Path, kind: Kind, name: str = "config.json") -> bool:
    """Whether a folder without a marker is a run of an earlier version.

    Those left their configuration and a lock. A configuration that lies there alone is one that a
    person put there for the run.
    """
    if not holds_config(cls, out / name):
        return False
    others = [path for top in kind.tops for path in out.glob(top) if path.name != name]
    return (out / ".lock").exists() or not others


def find_changes(before: Any, now: Any, free: Iterable[str] = ()) -> dict[str, tuple[Any, Any]]:
    """Where two configurations differ: dotted key to the value before, and the value now.

    What is named in `free`, and what lies below it, may differ.
    """
    old, new = _flatten(to_json(before)), _flatten(to_json(now))
    allowed = tuple(free)
    return {
        key: (old.get(key), new.get(key))
        for key in dict.fromkeys([*new, *old])
        if old.get(key) != new.get(key) and not _is_below(key, allowed)
    }


def describe_changes(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """Changes in words: "train.steps 9, was 3"."""
    named = [f"{key} {_short(now)}, was {_short(old)}" for key, (old, now) in changes.items()]
    more = [f"{len(named) - NAMED} more"] if len(named) > NAMED else []
    return "; ".join([*named[:NAMED], *more])


def without(config: Any, free: Iterable[str]) -> Any:
    """A configuration as JSON for a fingerprint: without the keys in `free`, by former names."""
    data = to_json(config, for_fingerprint=True)
    for key in free:
        *parents, last = key.split(".")
        inner = data
        for parent in parents:
            inner = inner.get(parent) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(last, None)
    return data


def save_with_history(
    config: Any, path: Path, step: int, free: Iterable[str] = (), earlier: Path | None = None
) -> None:
    """Write a configuration that holds from `step` on, and those that held before it.

    The file itself has those, or `earlier`, the config.json of the run that made those steps.
    Changes of keys in `free` alone are not recorded.
    """
    now = to_json(config)
    kept = [entry for entry in load_history(earlier or path) if entry.get("from_step", step) < step]
    if kept and not find_changes(_renamed(config, kept[-1]["config"]), now, free):
        entries = kept
    else:
        entries = [*kept, {"from_step": step if kept else 0, "config": now}]
    write_json(path, now if len(entries) == 1 else {**now, HISTORY: entries})


def save_with_stage(config: Any, path: Path, stage: str, free: Iterable[str] = ()) -> None:
    """The same for a run of stages, of which `stage` is the first that is not done."""
    now = to_json(config)
    kept = [{"from_stage": entry.get("from_stage"), **entry} for entry in load_history(path)]
    if kept and find_changes(_renamed(config, kept[-1]["config"]), now, free):
        kept = [*kept, {"from_stage": stage, "config": now}]
    for entry in kept:
        entry.pop("from_step", None)
    write_json(path, now if len(kept) < 2 else {**now, HISTORY: kept})


def load_history(path: Path) -> list[dict[str, Any]]:
    """The configurations of a run, oldest first: `from_step` and `config`; none without a file."""
    try:
        data = load_json(path)
    except UsageError:
        return []
    if not isinstance(data, dict):
        return []
    entries = data.pop(HISTORY, None)
    if isinstance(entries, list) and all(_is_entry(entry) for entry in entries):
        return entries
    return [{"from_step": 0, "config": data}]


def _renamed(config: Any, earlier: Any) -> Any:
    """The JSON of an earlier configuration with today's names of keys, where it can be read."""
    try:
        return to_json(from_json(type(config), earlier))
    except UsageError:
        return earlier


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and "config" in entry and len(entry) == 2


def _flatten(value: Any, key: str = "") -> dict[str, Any]:
    """Leaves by dotted key; a list of plain values is one leaf."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        items = ((str(number), item) for number, item in enumerate(value))
    else:
        return {key: value}
    leaves: dict[str, Any] = {}
    for name, item in items:
        leaves |= _flatten(item, f"{key}.{name}" if key else str(name))
    return leaves


def _is_below(key: str, allowed: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in allowed)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
