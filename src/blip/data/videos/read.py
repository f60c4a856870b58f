"""A video to a few of its frames, which models read together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from blip.data.config import MAX_PIXELS
from blip.data.images import convert_image
from blip.data.transforms import eval_pixels
from blip.data.videos.colours import to_rgb
from blip.data.videos.source import VideoSource, open_source
from blip.data.videos.stream import (
    find_timeline,
    frames_at,
    open_video,
    seconds_of,
    ticks,
)
from blip.errors import ArgumentError

if TYPE_CHECKING:
    import av

FRAMES = 8
"""Frames of a video that a model reads, unless another number is given (BLIP, section 5.6)."""
MOST_FRAMES = 1024


@final
@dataclass(frozen=True, slots=True)
class VideoFrames:
    """Some frames of a video in the order of time: what models take in the place of a picture."""

    frames: "tuple[Image.Image | av.VideoFrame, ...]"
    """Pictures, or frames as they were decoded: these become RGB where they are used."""
    times: tuple[float, ...] = ()
    """When each is shown, in seconds from the first frame of the video on."""

    @classmethod
    def from_images(
        cls, images: Iterable[Image.Image], max_pixels: int = MAX_PIXELS
    ) -> "VideoFrames":
        """Frames that are pictures already; raises ArgumentError for none of them."""
        frames = tuple(convert_image(image, max_pixels) for image in images)
        if not frames:
            raise ArgumentError("a video needs one frame at least, got none")
        return cls(frames)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.frames)

    def images(self) -> list[Image.Image]:
        """RGB pictures, as large as the video."""
        return [
            frame if isinstance(frame, Image.Image) else Image.fromarray(to_rgb(frame))
            for frame in self.frames
        ]

    def pixels(self, size: int) -> UInt8[np.ndarray, "frames size size 3"]:
        """All frames squashed to squares, RGB."""
        return np.stack(
            [
                eval_pixels(frame, size) if isinstance(frame, Image.Image) else to_rgb(frame, size)
                for frame in self.frames
            ]
        )


def read_video(
    source: VideoSource,
    frames: int = FRAMES,
    *,
    times: Sequence[float] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> VideoFrames:
    """`frames` frames of a video, evenly spaced from the first on, or those shown at some `times`.

    `source` is a path, the bytes of a file or a file that is open for them; `times` are seconds
    from the first frame on, in ascending order. A video of fewer frames gives some of them
    repeatedly.
    Frames are turned as the file says. Memory does not grow with the length of the video.

    Raises BadVideoError for a video that cannot be used, OSError for a file that cannot be read,
    ArgumentError (a ValueError) for anything else, and UsageError if PyAV is not installed.
    """
    if not 1 <= frames <= MOST_FRAMES:
        raise ArgumentError(f"frames must lie in 1..{MOST_FRAMES}, got {frames}")
    if times is not None and (not times or list(times) != sorted(times)):
        raise ArgumentError(f"times must be one or more in ascending order, got {list(times)}")
    with open_source(source) as file, open_video(file, max_pixels) as (container, stream):
        timeline = find_timeline(container, stream)
        wanted = timeline.spread(frames) if times is None else ticks(stream, timeline, times)
        found = tuple(frames_at(container, stream, timeline, wanted))
        shown = (frame.dts if frame.pts is None else frame.pts for frame in found)
        return VideoFrames(found, tuple(seconds_of(stream, timeline, at or 0) for at in shown))
