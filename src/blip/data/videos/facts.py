"""Size, length and unusual properties of a video."""

from dataclasses import dataclass
from typing import final

from blip.data.config import MAX_PIXELS
from blip.data.videos.colours import is_hdr, turn_of
from blip.data.videos.source import VideoSource, open_source
from blip.data.videos.stream import (
    BadVideoError,
    find_timeline,
    frames_at,
    open_video,
    seconds_of,
)

READ = 16
"""Frames that are decoded: those that evaluation reads for questions; for retrieval, half of them.
"""


@final
@dataclass(frozen=True, slots=True)
class VideoFacts:
    """A usable video."""

    width: int
    height: int
    """In pixels, upright."""
    seconds: float
    hdr: bool
    """In PQ or HLG: brought to the range of a usual screen where it is read."""
    rotated: bool
    """Turned or mirrored by its display matrix: upright where it is read."""
    variable_rate: bool
    """Whether frames are shown for different times."""

    @property
    def traits(self) -> tuple[str, ...]:
        """The names of what sets it apart: `hdr`, `rotated`, `variable_rate`."""
        named = (
            ("hdr", self.hdr),
            ("rotated", self.rotated),
            ("variable_rate", self.variable_rate),
        )
        return tuple(name for name, holds in named if holds)


def read_facts(source: VideoSource, max_pixels: int = MAX_PIXELS) -> VideoFacts:
    """What a video is like; as many frames of it are decoded as evaluation reads.

    `source` is as for `read_video`, which raises the same errors.
    """
    with open_source(source) as file, open_video(file, max_pixels) as (container, stream):
        timeline = find_timeline(container, stream)
        frames = frames_at(container, stream, timeline, timeline.spread(READ))
        first = next(frames, None)
        if first is None:
            raise BadVideoError("no_frames")
        for _ in frames:
            pass
        turn, sides = turn_of(first), (first.width, first.height)
        width, height = reversed(sides) if turn.swapped else sides
        return VideoFacts(
            width=width,
            height=height,
            seconds=seconds_of(stream, timeline, timeline.end),
            hdr=is_hdr(first),
            rotated=any(turn),
            variable_rate=timeline.variable_rate,
        )
