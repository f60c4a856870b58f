"""Annotation files of captioning: BLIP's own JSON lists and Karpathy's splits."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from blip.data.sample import IMAGE_KEY, Sample
from blip.data.tables import check_keys, read_file
from blip.errors import UsageError


def read_annotations(
    path: Path, images: Path, split: str | None = None, start: int = 0, stop: int | None = None
) -> Iterator[Sample]:
    """Samples of `[{"image": ..., "caption": ... or [...]}]` or of a Karpathy file.

    Image paths are relative to `images`; entries that name the same image are one sample. `split`
    chooses among Karpathy's train, restval, val and test. Of the images `start` to `stop` alone,
    where given. Raises UsageError for another form.
    """
    chosen = islice(texts_of_images(path, split).items(), start, stop)
    yield from check_keys(_samples(chosen, images, path.stem))


def _samples(chosen: Iterable[tuple[str, list[str]]], images: Path, place: str) -> Iterator[Sample]:
    for name, captions in chosen:
        content, extension = read_file(images / name)
        error = "missing_image" if content is None else None
        key = Path(name).with_suffix("").as_posix().replace(".", "_")
        meta = {"image": name, IMAGE_KEY: f"{place}/{name}"}
        yield Sample(key, content, tuple(captions), meta, error, extension)


def texts_of_images(path: Path, split: str | None = None) -> dict[str, list[str]]:
    """What the file says of each image, in the file's order; raises UsageError for another form."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if isinstance(data, dict) and isinstance(data.get("images"), list):
        entries = _karpathy(data["images"], split)
    elif isinstance(data, list):
        entries = _plain(data, path)
    else:
        raise UsageError(f'{path} is neither a list of image and caption nor has it "images"')
    texts: dict[str, list[str]] = {}
    for name, captions in entries:
        texts.setdefault(name, []).extend(captions)
    return texts


def _karpathy(images: list[dict[str, Any]], split: str | None) -> Iterator[tuple[str, list[str]]]:
    for image in images:
        if split is None or image.get("split") == split:
            name = Path(image.get("filepath", "")) / image["filename"]
            yield str(name), [sentence["raw"].strip() for sentence in image["sentences"]]


def _plain(entries: list[Any], path: Path) -> Iterator[tuple[str, list[str]]]:
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or "image" not in entry or "caption" not in entry:
            raise UsageError(f'{path}: entry {number} has no "image" and "caption"')
        caption = entry["caption"]
        captions = [caption] if isinstance(caption, str) else caption
        yield str(entry["image"]), [str(text).strip() for text in captions]
