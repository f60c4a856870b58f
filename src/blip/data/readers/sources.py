"""What a path stands for, and the samples of any kind of collection; every verb reads by this."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from blip.data.annotations.forms import find_form
from blip.data.identity import distinct_names, keep_identity
from blip.data.keys import with_safe_keys
from blip.data.readers.counts import locate
from blip.data.readers.image_files import list_images, say_skipped_below
from blip.data.readers.open import find_kind, open_place
from blip.data.readers.patterns import (
    SIZES,
    STATISTICS,
    TABLES,
    check_begun,
    check_finished,
    compressed_in,
    is_compressed,
    match_paths,
    named_in,
    names_in,
    refuse_compressed,
    tars_in,
    tars_of,
)
from blip.data.readers.remote import is_remote, on_disk
from blip.data.readers.shards import read_shard
from blip.data.readers.tables import check_table, has_pictures, is_table
from blip.data.sample import Sample
from blip.errors import UsageError
from blip.log import say
from blip.places import home_path

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
"""Tables of a folder of pictures, as the library datasets reads it."""
Place = Path | str
"""A local file or folder, or the location of a remote tar, or a command that writes one."""
T = TypeVar("T")
AnyPlace = TypeVar("AnyPlace", bound=Place)
MAGIC = (257, b"ustar")
"""Where a tar says what it is."""


def resolve_source(pattern: str) -> list[Path]:
    """The tars, tables and folders of pictures that a path, folder, glob or brace range stands for.

    A folder stands for its tars, else for its Parquet files that are made for a task (questions,
    statements), else for those that have pictures, else for its `metadata.jsonl`, else for the
    pictures below it. What img2dataset leaves beside its data is left out of folders and globs.
    Raises UsageError for what names nothing, or a file of no kind.
    """
    named = match_paths(pattern)
    if named != [home_path(pattern)]:
        named = _without_sidecars(named)
    if not named:
        raise UsageError(
            f"no shards at {pattern}: no such file or folder; "
            "allowed: tars, tables, folders of pictures, globs, ranges"
        )
    check_begun(named)
    places: list[Path] = []
    for path in named:
        places += _in_folder(path) if path.is_dir() else [_known(path)]
    check_finished(path for path in places if path.suffix.lower() == ".tar")
    return list(dict.fromkeys(places))


def find_sources(patterns: Iterable[str]) -> list[Path]:
    """All that some patterns stand for; what is named in two ways, or through a link, comes once.

    Of what a pattern finds beside tars, the tars are meant. Raises UsageError as `resolve_source`
    does, and for what is remote or a compressed tar.
    """
    places: dict[str, Path] = {}
    for pattern in patterns:
        if is_remote(pattern):
            raise UsageError(f"{pattern} is remote, and only local files are read here")
        for path in _find_local(pattern):
            refuse_compressed(path)
            places.setdefault(os.path.realpath(path), path)
    return list(places.values())


def find_anywhere(patterns: Iterable[str]) -> list[Place]:
    """As `find_sources`, with compressed tars, and the locations of remote tars and commands.

    Raises UsageError as `resolve_source` does, and for what is both remote and compressed.
    """
    return _find_each(patterns, _find_local)


def find_packable(patterns: Iterable[str]) -> list[Place]:
    """All that `blip data pack` would read for some patterns, and remote tars.

    Raises UsageError as `resolve_source` does.
    """
    return _find_each(patterns, resolve_source)


def find_places(patterns: Sequence[str]) -> list[str]:
    """As `find_packable`, with paths that start from the root."""
    found = find_packable(patterns)
    return [os.path.abspath(place) if isinstance(place, Path) else place for place in found]


def _find_each(patterns: Iterable[str], find_local: Callable[[str], list[Path]]) -> list[Place]:
    """What is named in two ways, or through a link, comes once."""
    places: dict[str, Place] = {}
    for pattern in patterns:
        plain = pattern.removeprefix("file://")
        if is_remote(plain):
            places |= {location: location for location in locate([plain])}
            continue
        for path in find_local(plain):
            places.setdefault(os.path.realpath(path), path)
    return list(places.values())


def _find_local(pattern: str) -> list[Path]:
    tars = tars_of(pattern)
    check_finished(tars)
    return tars or resolve_source(pattern)


def list_files(path: Path) -> list[Path]:
    """A file alone; of a folder of pictures its pictures and what lies beside them."""
    if not path.is_dir():
        return [path]
    folders = dict.fromkeys(image.parent for image in list_images(path))
    return sorted(file for folder in folders for file in folder.iterdir() if file.is_file())


def read_sources(
    places: Sequence[AnyPlace], *, need_text: bool = True
) -> Iterator[tuple[AnyPlace, Sample]]:
    """All samples of some places, each with its place; what folders skip is said.

    Samples of a tar come as they stand there. All others have the identity that `blip data pack`
    would write. A remote tar is fetched, and removed afterwards. Among several, a table that cannot
    be read is one bad sample; raises UsageError if nothing can be read, and BlipError for a
    remote tar that cannot be fetched. `need_text` is as that of `open_place`.
    """
    local = [place for place in places if isinstance(place, Path)]
    say_skipped_below(local)
    whole = [place.absolute() for place in local]
    faults = _find_faults(local, need_text=need_text)
    named = zip(whole, _names(whole), faults, strict=True)
    for place in places:
        if not isinstance(place, Path):
            with on_disk(place) as copy:
                yield from ((place, sample) for sample in read_shard(copy))
            continue
        path, name, fault = next(named)
        if fault is not None:
            yield place, broken_table("", fault)
        elif find_kind(place) == "tar":
            yield from ((place, sample) for sample in read_shard(place))
        else:
            reader = open_place(path, need_text=need_text)
            samples = keep_identity(reader.samples(), name, path)
            yield from ((place, sample) for sample in samples)


def try_each(paths: Sequence[Path], look: Callable[[Path], T]) -> list[T | UsageError]:
    """What `look` says of each place; of a file that is not what its name says, the reason.

    One broken table must not cost the others. Raises the first reason where it costs them all.
    """
    results: list[T | UsageError] = []
    for path in paths:
        try:
            results.append(look(path))
        except UsageError as error:
            results.append(error)
    reasons = [count for count in results if isinstance(count, UsageError)]
    if reasons and len(reasons) == len(results):
        raise reasons[0]
    return results


def broken_table(name: str, reason: UsageError) -> Sample:
    """The one bad sample in place of a table that cannot be read."""
    return Sample(name, None, error=f"broken_table: {reason}")


def read_samples(
    source: str,
    images: Path | None = None,
    split: str | None = None,
    *,
    need_text: bool = True,
) -> Iterator[Sample]:
    """Samples of all that `source` stands for, under keys that differ; says what folders skip.

    `images`, `split` and `need_text` are as those of `open_place`.
    """
    if images is not None and not images.is_dir():
        raise UsageError(f"--images {images}: no such folder")
    places = [path.absolute() for path in resolve_source(source)]
    say_skipped_below(places)

    def read() -> Iterator[Sample]:
        faults = _find_faults(places, need_text=need_text)
        for path, name, fault in zip(places, _names(places), faults, strict=True):
            if fault is not None:
                say(f"left out: {fault}")
                yield broken_table(name, fault)
                continue
            reader = open_place(path, images=images, split=split, need_text=need_text)
            yield from keep_identity(reader.samples(), name, path)

    yield from read() if len(places) == 1 else with_safe_keys(read(), "sample")


def _names(places: Sequence[Path]) -> list[str]:
    """A name for each of some absolute paths; no two are alike."""
    return distinct_names(places) or [path.as_posix() for path in places]


def _find_faults(places: Sequence[Path], *, need_text: bool = True) -> list[UsageError | None]:
    """Of several places, why each cannot be read; one alone says so when it is read."""
    if len(places) == 1:
        return [None]
    return try_each(places, lambda path: open_place(path, need_text=need_text).check())


def _in_folder(folder: Path) -> list[Path]:
    if tars := tars_in(folder) or compressed_in(folder):
        return tars
    tables = [path for path in named_in(folder, ".parquet") if path.is_file()]
    if of_tasks := [path for path in tables if find_form(path)]:
        # Their pictures may lie in another of the tables, which is no collection of its own.
        return of_tasks
    pictures = {path: has_pictures(path) for path in tables}
    if any(pictures.values()):
        # With those that cannot be read: they are counted.
        return [path for path in tables if pictures[path] is not False]
    if metadata := _metadata(folder):
        return [metadata]
    try:
        list_images(folder)
    except UsageError:
        # A table of URLs, or one that cannot be read, says what is wrong.
        return tables or [folder]
    return [folder]


def _metadata(folder: Path) -> Path | None:
    """The table of a folder of pictures; None where no table has pictures and texts."""
    named = sorted(folder / name for name in names_in(folder) if name.lower() in METADATA)
    there = {path.name.lower(): path for path in named}
    for path in (there[name] for name in METADATA if name in there):
        if path.is_file():
            try:
                check_table(path)
            except UsageError as error:
                say(f"left out: {error}")
            else:
                return path
    return None


def _without_sidecars(paths: Iterable[Path]) -> list[Path]:
    return [
        path
        for path in paths
        if not path.name.startswith(".")
        and not path.name.lower().endswith((STATISTICS, SIZES))
        and (path.suffix.lower() != ".parquet" or has_pictures(path) or not _has_data_beside(path))
    ]


def _has_data_beside(table: Path) -> bool:
    """Whether a tar or a folder lies beside a table under the same name, as img2dataset has it."""
    return any(table.with_suffix(suffix).is_file() for suffix in (".tar", ".TAR")) or (
        table.with_suffix("").is_dir()
    )


def _known(path: Path) -> Path:
    kinds = (*TABLES, ".json")
    if (
        is_compressed(path)
        or path.suffix.lower() in (".tar", *kinds)
        or is_table(path)
        or _is_tar(path)
    ):
        return path
    raise UsageError(
        f"{path} is neither a .tar nor a table ({', '.join(kinds)}, or a .txt file with a "
        "header) nor a folder of pictures"
    )


def _is_tar(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(MAGIC[0] + len(MAGIC[1]))[MAGIC[0] :] == MAGIC[1]
