"""Pictures by their paths, and all below a folder with the texts beside them."""

import os
from collections.abc import Collection, Iterable, Iterator
from errno import EFBIG
from functools import partial
from pathlib import Path

from blip.data.keys import storable, with_safe_keys
from blip.data.readers.chosen import choose, read_alone
from blip.data.readers.image_files import IMAGE_EXTENSIONS, list_images, read_image_file
from blip.data.readers.video_files import is_video_name
from blip.data.sample import IMAGE_KEY, Sample
from blip.data.texts import MISSING, NOT_UTF8, TEXT_LIMIT, TOO_LONG, decode_text
from blip.files import read_regular

TEXTS_BESIDE = (".txt", ".caption", ".TXT", ".CAPTION")
"""How a picture's text file ends, after its whole name or its stem; the first found is read."""
SIGNATURES = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
)


def read_folder(folder: Path, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
    """Pictures below a folder with a `.txt` or `.caption` file of the same name; a line a caption.

    Of the pictures `start` to `stop` in sorted order alone, where given. One without a text, or
    with one that is not UTF-8, comes with its picture and with `error`.
    """
    yield from read_paths(folder, list_images(folder)[start:stop], start)


def read_paths(folder: Path, paths: Iterable[Path], first: int = 0) -> Iterator[Sample]:
    """Some pictures and videos below a folder, as `read_folder` does, numbered from `first`.

    Of a video only the texts beside it are read.
    """
    yield from with_safe_keys(_read_paths(folder, paths), "picture", first)


def read_paths_at(
    folder: Path, paths: Iterable[Path], numbers: Collection[int]
) -> Iterator[tuple[int, Sample]]:
    """Some of all the pictures and videos below a folder, `paths`, with their numbers."""
    return read_alone(choose(enumerate(paths), numbers), partial(_read_paths, folder), "picture")


def _read_paths(folder: Path, paths: Iterable[Path]) -> Iterator[Sample]:
    for path in paths:
        texts, error = texts_beside(path)
        key = path.relative_to(folder).as_posix()
        meta = {IMAGE_KEY: storable(f"{folder.absolute().name}/{key}")}
        if is_video_name(path):
            yield Sample(key, None, texts, meta, error, video=path)
            continue
        content, extension = read_file(path)
        if content is None:
            error = "missing_image"
        yield Sample(key, content, texts, meta, error, extension)


def read_file(path: Path) -> tuple[bytes | None, str]:
    """The bytes of an image file and its extension; None where it is missing or too large."""
    try:
        content = read_image_file(path)
    # A text with NUL cannot be a path.
    except (OSError, ValueError):
        content = None
    extension = path.suffix.lower().lstrip(".")
    if extension not in IMAGE_EXTENSIONS:
        extension = extension_of(content or b"")
    return content, extension


def is_picture(content: bytes) -> bool:
    """Whether some bytes begin as a picture of a usual format does."""
    starts = tuple(start for start, _ in SIGNATURES[:3])
    return _is_webp(content) or content.startswith(starts)


def extension_of(content: bytes) -> str:
    """The extension of a picture by its first bytes; `jpg` where the kind is unknown."""
    if _is_webp(content):
        return "webp"
    if content[4:8] == b"ftyp":
        return "avif" if content[8:12] in (b"avif", b"avis") else "heic"
    return next((name for start, name in SIGNATURES if content.startswith(start)), "jpg")


def _is_webp(content: bytes) -> bool:
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP"


def text_file_beside(picture: Path) -> Path | None:
    """The text file of a picture; None if there is none."""
    stems = (picture.name, picture.stem)
    names = (picture.with_name(stem + suffix) for stem in stems for suffix in TEXTS_BESIDE)
    return next(filter(os.path.lexists, names), None)


def texts_beside(picture: Path) -> tuple[tuple[str, ...], str | None]:
    """The captions in the text file of a picture, and what is wrong with it."""
    path = text_file_beside(picture)
    if path is None:
        return (), MISSING
    try:
        lines = decode_text(read_regular(path, TEXT_LIMIT)).splitlines()
    except OSError as error:
        return (), TOO_LONG if error.errno == EFBIG else MISSING
    except UnicodeDecodeError:
        return (), NOT_UTF8
    stripped = (line.replace("\0", "").strip() for line in lines)
    return tuple(line for line in stripped if line), None
