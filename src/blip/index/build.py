"""Makes an index, adds places to it, and removes places and pictures."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa

from blip.data.faults import Fault
from blip.data.keys import storable
from blip.data.readers.video_places import find_any, shows_videos
from blip.data.videos.read import FRAMES, MOST_FRAMES
from blip.errors import ArgumentError, UsageError
from blip.files import json_text, report_disk_errors, write_atomically, write_json
from blip.index.fill import Computing, Filling
from blip.index.neighbours import build_cells, faiss, needs_cells, write_cells
from blip.index.store import (
    BROKEN,
    CONFIG,
    FAULTS,
    INDEXED,
    NEIGHBOURS,
    PART_ROWS,
    READY,
    REMOVED,
    STATUS,
    NumberFormat,
    Part,
    Settings,
    Store,
)
from blip.inference.checkpoint import fingerprint
from blip.inference.embedder import Embedder
from blip.installed import install, need
from blip.log import printable, say
from blip.outputs import SEARCH_INDEX, claim, refuse_inputs_as_output
from blip.places import home_path
from blip.processes import stop_on_sigterm
from blip.stage import exclusive_lock


@dataclass(frozen=True, slots=True)
class Summary:
    """What an index holds after a change."""

    places: int
    indexed: int
    """Pictures and videos that a search can find."""
    broken: int
    """Samples without a picture or video that can be read; faults.jsonl names them."""
    removed: int
    frames: int | None = None
    """Of each video; None where the index takes pictures alone."""
    lost: tuple[Fault, ...] = ()
    """Places that could not be read this time; the next run tries them again."""


def add_places(
    folder: Path,
    places: Sequence[str],
    checkpoint: str | Path | None = None,
    *,
    vectors: NumberFormat | None = None,
    frames: int | None = None,
    computing: Computing | None = None,
) -> Summary:
    """Add all that `places` stand for to the index in `folder`, which is made where missing.

    A place that is in the index already and has not changed is skipped, one that has changed is
    read anew. A run that was killed is resumed by the same call, which writes the same bytes.
    `checkpoint` may be left out where the index exists. `vectors` is the format in which vectors
    are stored, float32 unless another one is given for a new index. `frames` evenly spaced frames
    are read of each video: the number of the index, else 8. Without PyAV, videos
    that lie among pictures are left out.

    Raises UsageError if `places` name nothing, if FAISS is not installed, if `folder` is
    no index or belongs to another checkpoint, if it reads another number of frames, and while
    another run writes to it.
    """
    faiss()
    if frames is not None and not 1 <= frames <= MOST_FRAMES:
        raise ArgumentError(f"frames must lie in 1..{MOST_FRAMES}, got {frames}")
    computing = computing or Computing()
    locations = find_any(places)
    given = [] if checkpoint is None else [str(checkpoint)]
    refuse_inputs_as_output([*places, *locations, *given], folder, SEARCH_INDEX)
    embedder, settings = _prepare(folder, checkpoint, vectors, computing)
    settings = _with_frames(folder, settings, locations, frames)
    claim(folder, SEARCH_INDEX)
    with _changing(folder):
        if not (folder / CONFIG).exists() or Store.open(folder).settings != settings:
            Store(folder, settings, []).write_settings()
        store = Store.open(folder)
        lost = Filling(store, embedder, computing).add(locations)
        return finish(store, lost)


def remove_from(folder: Path, places: Sequence[str] = (), keys: Sequence[str] = ()) -> Summary:
    """Remove places, named as when they were added, and single pictures by their keys.

    A picture that was removed by its key stays removed until its place changes. A run that was
    killed is resumed by the same call. Raises UsageError for a place or a key that is not in the
    index, before anything is removed.
    """
    Store.open(folder)
    with _changing(folder):
        store = Store.open(folder)
        _check_keys(store, keys)
        stopped = not store.is_finished
        gone = [
            location for place in places for location in _located(store, place, stopped=stopped)
        ]
        store.places = [place for place in store.places if place.location not in gone]
        store.forget_parts()
        if keys:
            _remove_keys(store, frozenset(map(storable, keys)))
        store.write_places()
        return finish(store, [])


def finish(store: Store, lost: Sequence[Fault]) -> Summary:
    """Write what is made of the parts, and remove the parts of places that have gone."""
    store.forget_parts()
    faults = [json_text(fault) for part in store.parts for fault in part.faults()]
    write_atomically(store.folder / FAULTS, "".join(f"{line}\n" for line in faults))
    cells = store.folder / NEIGHBOURS
    if needs_cells(store.indexed):
        projection = store.settings.projection
        write_cells(cells, build_cells(projection, store.indexed, store.blocks))
    else:
        cells.unlink(missing_ok=True)
    summary = Summary(
        len(store.places),
        store.indexed,
        sum(place.broken for place in store.places),
        sum(place.removed for place in store.places),
        store.settings.frames,
        tuple(lost),
    )
    counts = {"rows": store.rows, "indexed": summary.indexed, "broken": summary.broken}
    counts |= {"removed": summary.removed, "places": summary.places, "lost": len(lost)}
    write_json(store.folder / STATUS, {"state": READY, "digest": store.digest, **counts})
    # Last: until now searches in other processes read them.
    _remove_strays(store)
    return summary


@contextmanager
def _changing(folder: Path) -> Iterator[None]:
    """While the folder of an index is written to."""
    message = f"stopped; {folder} keeps finished parts; run the same command again to resume"
    with stop_on_sigterm(message), exclusive_lock(folder), report_disk_errors(folder):
        yield


def _prepare(
    folder: Path,
    checkpoint: str | Path | None,
    vectors: NumberFormat | None,
    computing: Computing,
) -> tuple[Embedder, Settings]:
    """The model, and what config.json says or will say."""
    known = Store.open(folder).settings if (folder / CONFIG).exists() else None
    if checkpoint is None and known is None:
        raise UsageError(f"{folder} holds no index yet: --checkpoint CKPT must say what makes one")
    if known is not None and vectors not in (None, known.vectors):
        raise UsageError(f"{folder} stores vectors as {known.vectors}, not as {vectors}")
    source = known.checkpoint if checkpoint is None and known is not None else str(checkpoint)
    embedder = Embedder.load(source, computing.device, precision=computing.precision)
    mark = fingerprint(source)
    if known is not None:
        refuse_other_model(folder, known, source, mark)
        return embedder, known
    place = str(home_path(source).absolute()) if os.path.exists(home_path(source)) else source
    settings = Settings(
        checkpoint=place,
        fingerprint=mark,
        projection=embedder.projection,
        vectors=vectors or "float32",
        part_rows=PART_ROWS,
    )
    return embedder, settings


def _with_frames(
    folder: Path, settings: Settings, locations: Sequence[str], frames: int | None
) -> Settings:
    """Settings with the number of frames of each video, if there are any or a number is given.

    Raises UsageError for another number than that of the index, and if PyAV is missing.
    """
    known = settings.frames
    if known is not None and frames not in (None, known):
        raise UsageError(
            f"{folder} reads {known} frames of each video, not {frames}; build an index of its own"
        )
    videos = [location for location in locations if shows_videos(location)]
    if videos and known is None and frames is None and not find_spec("av"):
        place = printable(videos[0])
        say(f"{place}: videos are left out, as PyAV is not installed; {install('video')}")
        return settings
    if videos:
        need("av", "PyAV", "video")
    if known is not None or not (frames or videos):
        return settings
    chosen = frames or FRAMES
    if videos and not (folder / CONFIG).exists():
        # What a killed run has to compute again are as many frames as it would be pictures.
        settings = replace(settings, part_rows=max(1, settings.part_rows // chosen))
    return replace(settings, frames=chosen)


def refuse_other_model(folder: Path, settings: Settings, source: str, mark: str) -> None:
    """Raise UsageError where a checkpoint is not the one that made an index."""
    if mark != settings.fingerprint:
        raise UsageError(
            f"{folder} was made with the model {settings.fingerprint} ({settings.checkpoint}), "
            f"but {source} is the model {mark}; build an index of its own with it"
        )


def _located(store: Store, place: str, *, stopped: bool) -> list[str]:
    """The places of an index that a path, folder, glob or URL means.

    Raises UsageError if there are none, unless a run that was `stopped` may have removed them.
    """
    path = os.path.abspath(home_path(place))
    locations = [known.location for known in store.places]
    found = [one for one in locations if one in (place, path) or one.startswith(f"{path}/")]
    # A folder may be called `photos[1]`, which as a glob would mean `photos1`.
    if not found and not os.path.lexists(path):
        found = [one for one in locations if _matches(one, path) or _matches(one, place)]
    known = ", ".join(locations[:3]) or "no places"
    missing = f"{place} is not in {store.folder}; it holds {known}"
    if not found and not stopped:
        raise UsageError(missing)
    if not found:
        say(f"{missing} (a run that was stopped may have removed it)")
    return found


def _matches(location: str, pattern: str) -> bool:
    """Whether a glob means a place; but for `**`, a `*` does not cross folders."""
    is_as_deep = location.count("/") == pattern.count("/")
    return fnmatch(location, pattern) and (is_as_deep or "**" in pattern)


def _check_keys(store: Store, keys: Sequence[str]) -> None:
    """Raise UsageError for the first key that no picture has."""
    missing = dict.fromkeys(map(storable, keys))
    for part in store.parts if missing else ():
        for key in part.table().column("key").to_pylist():
            missing.pop(key, None)
    if missing:
        raise UsageError(f"no picture of {store.folder} has the key {next(iter(missing))!r}")


def _remove_keys(store: Store, keys: frozenset[str]) -> None:
    """Mark the rows of some keys as removed, and count the places anew."""
    changed = []
    for place in store.places:
        states: list[str] = []
        for name in place.part_names(store.settings.part_rows):
            part = Part(store.folder, name)
            table = part.table()
            before = table.column("state").to_pylist()
            named = [key in keys for key in table.column("key").to_pylist()]
            after = [REMOVED if gone else s for gone, s in zip(named, before, strict=True)]
            if after != before:
                column = pa.array(after, type=pa.string())
                part.write_table(
                    table.set_column(table.schema.get_field_index("state"), "state", column)
                )
            states += after
        counts = {state: states.count(state) for state in (INDEXED, BROKEN, REMOVED)}
        changed.append(replace(place, **counts))
    store.places = changed


def _remove_strays(store: Store) -> None:
    """Remove parts of places that are no longer in the index, or have changed."""
    known = {path for part in store.parts for path in (part.vector_path, part.row_path)}
    for pattern in ("parts/*.npy", "parts/*.parquet", "parts/.*.part"):
        for path in store.folder.glob(pattern):
            if path not in known:
                path.unlink()
