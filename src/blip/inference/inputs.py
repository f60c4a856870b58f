"""Arguments of all that reads pictures and texts, checked before any work is done."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral
from typing import TypeVar, cast

import numpy as np
from PIL import Image
from torch import Tensor

from blip.data.videos.read import VideoFrames
from blip.errors import ArgumentError
from blip.files import is_utf8
from blip.generation.config import DecodingConfig
from blip.inference.pixels import NormalisedImage, Picture, count_frames, with_path

Item = TypeVar("Item")


def check_batch_size(batch_size: int) -> None:
    """Raise ArgumentError for a number below 1, and for anything but a whole number."""
    if not isinstance(batch_size, Integral):
        raise ArgumentError(f"batch_size must be a whole number, got {batch_size!r}")
    if batch_size < 1:
        raise ArgumentError(f"batch_size must be positive, got {batch_size}")


def check_seed(name: str, seed: int) -> None:
    """Raise ArgumentError for anything but a whole number that is not negative."""
    if not isinstance(seed, Integral) or seed < 0:
        raise ArgumentError(f"{name} must be a whole number, at least 0, got {seed!r}")


def check_decoding(decoding: DecodingConfig) -> None:
    """Raise ArgumentError for anything but a `DecodingConfig`, such as the name of a kind."""
    if not isinstance(decoding, DecodingConfig):
        raise ArgumentError(f"decoding must be a blip.DecodingConfig, got {decoding!r}")


def check_pictures(images: Iterable[Picture], name: str = "images") -> Sequence[Picture]:
    """The pictures of a call as a sequence; raises ArgumentError for a single picture."""
    _refuse_single_picture(images, name)
    return list_items(name, images)


def iterate_pictures(images: Iterable[Picture]) -> Iterator[Picture]:
    """The pictures of a call one after another; raises ArgumentError for a single picture."""
    _refuse_single_picture(images, "images")
    return _iterate("images", images)


def list_pictures(images: Picture | Iterable[Picture]) -> tuple[Sequence[Picture], bool]:
    """One picture or many as a sequence, and whether it is one.

    An array or tensor of four dimensions holds many. Raises ArgumentError for anything else.
    """
    if _is_single_picture(images):
        return [cast(Picture, images)], True
    if not isinstance(images, Iterable):
        kind = type(images).__name__
        raise ArgumentError(
            f"images must be a picture (a path, URL, bytes, open file, PIL image, array or tensor) "
            f"or a list of pictures, got {kind}"
        )
    return list_items("images", cast(Iterable[Picture], images)), False


def list_texts(name: str, texts: str | Iterable[str]) -> tuple[list[str], bool]:
    """One text or many as a list, and whether it is one; raises what `check_texts` raises."""
    is_one = isinstance(texts, str)
    return check_texts(name, [texts] if is_one else texts), is_one


def refuse_videos(pictures: Sequence[Picture], names: Sequence[str]) -> None:
    """Raise ArgumentError for a video, which models of pairs and of dialogues do not read."""
    for picture, name in zip(pictures, names, strict=True):
        if count_frames(picture, 1):
            raise ArgumentError(
                f"{with_path(name, picture)} is a video; this model reads pictures alone, such as "
                "blip.read_video(path).images()[0]"
            )


def _is_single_picture(images: Picture | Iterable[Picture]) -> bool:
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim < 4
    forms = Image.Image | str | os.PathLike | bytes | bytearray | memoryview
    ready = NormalisedImage | VideoFrames
    return isinstance(images, forms | ready) or hasattr(images, "read")


def _refuse_single_picture(images: Iterable[Picture], name: str) -> None:
    if _is_single_picture(images):
        raise ArgumentError(
            f"{name} must be a list of pictures, got a single {type(images).__name__}; "
            "write [picture]"
        )


def check_texts_of_pictures(
    name: str,
    texts: Iterable[Iterable[str]],
    pictures: int,
    *,
    noun: str = "picture",
    clean: Callable[[str], str] | None = None,
) -> list[list[str]]:
    """The texts of each picture; raises ArgumentError unless each picture has a list of texts.

    With `clean`, also for a text of which it leaves nothing.
    """
    rows = list_for_each(name, texts, pictures, noun)
    found = [check_texts(f"{name} of {noun} {n}", row) for n, row in enumerate(rows, 1)]
    for number, row in enumerate(found, 1):
        for text in row:
            if clean is not None and not clean(text):
                raise ArgumentError(f"{name} of {noun} {number}: {text!r} has no words")
    return found


def list_for_each(
    name: str, rows: Iterable[Iterable[Item]], count: int, noun: str = "picture"
) -> list[Sequence[Item]]:
    """A list for each of `count` pictures; raises ArgumentError for anything else."""
    if isinstance(rows, str | bytes):
        raise ArgumentError(f"{name} must hold a list for each {noun}, got a single text")
    listed = list_items(name, rows)
    if len(listed) != count:
        raise ArgumentError(f"{name}: {count} {noun}s need as many lists, got {len(listed)}")
    return [list_items(f"{name} of {noun} {n}", row) for n, row in enumerate(listed, 1)]


def check_texts(name: str, texts: Iterable[str]) -> list[str]:
    """Some texts as a list; raises ArgumentError for a single text and for other types."""
    listed = list(iterate_texts(name, texts))
    for text in listed:
        if not isinstance(text, str):
            raise ArgumentError(f"{name} must be texts, got {text!r} ({type(text).__name__})")
        check_text(name, text)
    return listed


def iterate_texts(name: str, texts: Iterable[str]) -> Iterator[str]:
    """Some texts one after another, unchecked; raises ArgumentError for a single text."""
    if isinstance(texts, str | bytes):
        raise ArgumentError(f"{name} must be a list of texts, got the single text {texts!r}")
    return _iterate(name, texts)


def check_text(name: str, text: str) -> None:
    """Raise ArgumentError for a text with lone surrogates, which no tokenizer reads."""
    if not is_utf8(text):
        raise ArgumentError(f"{name} must be text in UTF-8, got {text!r}")


def list_items(name: str, values: Iterable[Item]) -> Sequence[Item]:
    """Some values as a sequence; raises ArgumentError for a text or no iterable."""
    if isinstance(values, str | bytes):
        raise ArgumentError(f"{name} must be a list, got the text {values!r}; write [[{values!r}]]")
    if isinstance(values, Sequence | Tensor | np.ndarray):
        return values  # pyright: ignore[reportReturnType]
    return list(_iterate(name, values))


def _iterate(name: str, values: Iterable[Item]) -> Iterator[Item]:
    try:
        return iter(values)
    except TypeError as error:
        raise ArgumentError(f"{name} must be a list, got {type(values).__name__}") from error
