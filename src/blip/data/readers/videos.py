"""Videos of any place as samples, each once, with its texts and the questions about it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from blip.data.annotations.videos import MISSING_VIDEO, ListedVideo, list_videos
from blip.data.identity import distinct_names, keep_identity
from blip.data.keys import check_lengths, storable, with_safe_keys
from blip.data.questions import QUESTIONS
from blip.data.readers.open import find_kind
from blip.data.readers.shards import read_shard
from blip.data.readers.video_files import extension_of_video, is_video_name
from blip.data.sample import IMAGE_KEY, Sample
from blip.data.texts import MISSING, TEXT_FAULTS


def read_videos(
    places: Sequence[Path], videos: Path | None = None, split: str | None = None
) -> Iterator[Sample]:
    """The videos of some tars, tables, lists and folders, under keys that differ.

    `videos` and `split` are as for `list_videos`, which raises the same errors. What is wrong with
    a question, and an entry that cannot be read, is a sample with `error` of its own.
    """
    whole = [path.absolute() for path in places]
    names = distinct_names(whole) or [path.as_posix() for path in whole]

    def read() -> Iterator[Sample]:
        for path, name in zip(whole, names, strict=True):
            if find_kind(path) == "tar" and videos is None and split is None:
                samples = map(_without_picture, check_lengths(read_shard(path, videos=True)))
            else:
                listed = list_videos(path, videos, split)
                samples = (s for video in listed for s in _samples(video, path.stem))
            yield from keep_identity(samples, name, path)

    yield from with_safe_keys(read(), "video")


def _without_picture(sample: Sample) -> Sample:
    """A sample of a tar by its video alone."""
    if isinstance(sample.video, bytes):
        return replace(sample, image=None, extension=extension_of_video(sample.video))
    error = MISSING_VIDEO if sample.error in (None, "missing_image") else sample.error
    return replace(sample, image=None, error=error)


def _samples(video: ListedVideo, place: str) -> Iterator[Sample]:
    of_texts = {*TEXT_FAULTS, MISSING}
    others = [fault for fault in video.faults if fault not in of_texts]
    if video.source is not None:
        content = video.source if isinstance(video.source, Path) else video.source.read()
        meta: dict[str, Any] = {IMAGE_KEY: storable(f"{place}/{video.key}")}
        if video.questions:
            meta[QUESTIONS] = [question.to_json() for question in video.questions]
        key = os.path.splitext(video.key)[0] if is_video_name(video.key) else video.key
        error = next((fault for fault in video.faults if fault in of_texts), None)
        texts, extension = tuple(video.texts), _extension(content)
        yield Sample(key, None, texts, meta, error, extension, video=content)
    elif video.texts or video.questions or not others:
        yield Sample(video.key, None, error=MISSING_VIDEO)
    # After the video, which has the key.
    yield from (Sample(video.key, None, error=fault) for fault in others)


def _extension(content: Path | bytes) -> str:
    if isinstance(content, Path):
        return content.suffix[1:].lower()
    return extension_of_video(content)
