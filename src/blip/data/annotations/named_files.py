"""Finds the file or the key that an annotation file names; never another folder's of that name."""

import os
from collections.abc import Container, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import final

from blip.data.readers.image_files import is_image_name
from blip.data.readers.video_files import is_video_name


@final
class NamedFiles:
    """Files below a folder, by the names that annotation files give them.

    A name is a path below the folder, or the end of a file's whole path: `7/clip.mp4` is never
    `8/clip.mp4`. A file of that name comes before one with another extension, or with one where the
    name has none. A name that fits two files equally well finds neither.
    """

    def __init__(self, folder: Path, paths: Iterable[Path]) -> None:
        self._folder = folder.absolute()
        self._of_stem: dict[str, list[PurePosixPath]] = {}
        for path in paths:
            below = PurePosixPath(path.relative_to(folder).as_posix())
            self._of_stem.setdefault(below.stem, []).append(below)

    def find(self, name: str) -> Path | None:
        """The file of that name; None if there is none, or more than one."""
        given, stem = PurePosixPath(name), PurePosixPath(without_extension(name))
        there = self._of_stem.get(stem.name, [])
        choices = (
            [one for one in there if one == given],
            [one for one in there if self._ends(one, given)],
            [one for one in there if one.with_suffix("") == stem],
            [one for one in there if self._ends(one.with_suffix(""), stem)],
        )
        best = next(filter(None, choices), [])
        return self._folder / best[0] if len(best) == 1 else None

    def _ends(self, below: PurePosixPath, name: PurePosixPath) -> bool:
        whole = (*self._folder.parts, *below.parts)
        return whole[len(whole) - len(name.parts) :] == name.parts


def find_key(name: str, keys: Container[str], *, with_folders: bool) -> str | None:
    """The key of a table that is meant by a name; None if there is none.

    Keys may lack the extension, and, if none of them is `with_folders`, the folder of the name.
    """
    return next((one for one in _spellings(name, with_folders=with_folders) if one in keys), None)


def without_extension(name: str) -> str:
    """The name of a picture or a video without how it ends; any other name as it is."""
    return os.path.splitext(name)[0] if is_image_name(name) or is_video_name(name) else name


def _spellings(name: str, *, with_folders: bool) -> Iterator[str]:
    for one in (name,) if with_folders else (name, PurePosixPath(name).name):
        yield one
        yield without_extension(one)
