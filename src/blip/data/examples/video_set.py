"""Videos with their texts or questions, to evaluate a model; bad ones are counted and named."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from blip.data.annotations.video_files import VideoSource
from blip.data.annotations.videos import MISSING_VIDEO, ListedVideo, list_videos
from blip.data.captions import clean_caption
from blip.data.config import MAX_PIXELS
from blip.data.examples.sound import say_left_out
from blip.data.faults import BadSamples, Fault
from blip.data.questions import AskedQuestion, clean_question
from blip.data.readers.patterns import match_paths
from blip.data.readers.video_places import videos_in
from blip.data.transforms import normalise
from blip.data.videos.read import read_video
from blip.data.videos.stream import BadVideoError
from blip.errors import UsageError
from blip.installed import need
from blip.log import progress

KEPT_BYTES = 2 << 30
"""Most memory for decoded frames; those of further videos are decoded again when needed."""
Asked = Literal["texts", "questions"]


class VideoSet:
    """Videos in the order of their files, each with `frames` evenly spaced frames.

    Every video is decoded once at the start, so that no broken one is met later; its frames,
    squashed to the model's size, are kept as far as `KEPT_BYTES` reach.
    """

    def __init__(
        self,
        places: Iterable[str],
        image_size: int,
        frames: int,
        wanted: Asked,
        *,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Read all that `places` name: folders, tables and annotation files of videos.

        Raises UsageError if there is nothing or PyAV is missing, and BlipError if no video
        can be used.
        """
        need("av", "PyAV", "video")
        self.image_size, self.frames, self.max_pixels = image_size, frames, max_pixels
        self.keys: list[str] = []
        self.texts: list[list[str]] = []
        self.asked: list[list[AskedQuestion]] = []
        self.bad = BadSamples()
        self._sources: list[VideoSource] = []
        self._kept: dict[int, UInt8[np.ndarray, "frames size size 3"]] = {}
        self._kept_bytes = 0
        paths = [one for place in places for path in match_paths(place) for one in videos_in(path)]
        if not paths:
            raise UsageError(f"no videos at {', '.join(places)}")
        listed = [(path, video) for path in dict.fromkeys(paths) for video in list_videos(path)]
        with progress(len(listed), "read videos", "videos") as bar:
            for path, video in listed:
                faults = [*video.faults, *self._add(video, wanted)]
                self.bad.add(Fault(path.name, video.key, fault) for fault in faults)
                bar.advance()
        say_left_out(self.bad, bool(self.keys), "video", where_none="none is listed")

    def _add(self, video: ListedVideo, wanted: Asked) -> list[str]:
        """Take a video, or say what is wrong with it."""
        texts = [text for text in video.texts if clean_caption(text)]
        asked = [question for question in video.questions if clean_question(question.text)]
        if wanted == "texts":
            faults = ["empty_caption"] * (len(video.texts) - len(texts))
        else:
            faults = ["empty_question"] * (len(video.questions) - len(asked))
        if not (texts if wanted == "texts" else asked):
            missing = "empty_caption" if wanted == "texts" else "no_question"
            return faults or ([] if video.faults else [missing])
        try:
            pixels = None if video.source is None else self._decode(video.source)
            fault = MISSING_VIDEO
        except BadVideoError as error:
            pixels, fault = None, str(error)
        except OSError as error:
            pixels, fault = None, f"unreadable: {error.strerror}"
        if pixels is None or video.source is None:
            self.bad.lose(f"{wanted}_without_video", len(texts if wanted == "texts" else asked))
            return [*faults, fault]
        place = len(self.keys)
        if self._kept_bytes + pixels.nbytes <= KEPT_BYTES:
            self._kept[place] = pixels
            self._kept_bytes += pixels.nbytes
        self.keys.append(video.key)
        self.texts.append(texts)
        self.asked.append(asked)
        self._sources.append(video.source)
        return faults

    def _decode(self, source: VideoSource) -> UInt8[np.ndarray, "frames size size 3"]:
        content = os.fspath(source) if isinstance(source, Path) else source.read()
        found = read_video(content, self.frames, max_pixels=self.max_pixels)
        return found.pixels(self.image_size)

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.keys)

    def counts(self) -> dict[str, int]:
        """How much was read: `videos`, `texts`, `questions` and `questions_without_answers`.

        Of videos that are left out `texts_without_video` or `questions_without_video`, as wanted,
        where there are any.
        """
        asked = list(self.questions)
        return {
            "videos": len(self),
            "texts": sum(map(len, self.texts)),
            "questions": len(asked),
            "questions_without_answers": sum(not question.answers for question in asked),
            **self.bad.lost,
        }

    @property
    def questions(self) -> Iterator[AskedQuestion]:
        """All questions, video by video."""
        return (question for asked in self.asked for question in asked)

    def images(self, start: int, stop: int) -> Float[Tensor, "videos frames 3 size size"]:
        """Videos `start` to `stop` (not included), ready for a model."""
        return torch.stack([self.video(place) for place in range(len(self))[start:stop]])

    def video(self, place: int) -> Float[Tensor, "frames 3 size size"]:
        """The frames of a video, ready for a model."""
        pixels = self._kept.get(place)
        return normalise(self._decode(self._sources[place]) if pixels is None else pixels)
