"""A walk through all folders below one, linked ones included, each once."""

import os
from collections.abc import Iterator
from pathlib import Path


def walk_folders(folder: Path, unreadable: list[str]) -> Iterator[list[os.DirEntry[str]]]:
    """What lies in a folder and in each one below it, sorted by name; without what it opens.

    Linked folders are followed; a folder that can be reached in several ways is read once, under
    its own name rather than a link's. Those whose names start with a dot are not opened. Folders
    that cannot be read join the `unreadable` ones, each with the reason.
    """
    seen: set[str] = set()
    folders, links = [str(folder)], list[str]()
    while folders or links:
        # Links come last: what they lead to may also lie here.
        current = folders.pop() if folders else links.pop(0)
        real = os.path.realpath(current)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError as error:
            unreadable.append(f"{current}: {error.strerror}")
            continue
        kept: list[os.DirEntry[str]] = []
        for entry in entries:
            if entry.name.startswith(".") or not _is_folder(entry):
                kept.append(entry)
            else:
                (links if entry.is_symlink() else folders).append(entry.path)
        yield kept


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link in a circle, or one into a folder that may not be read.
        return False
