"""Frames of the videos of an index: those that a model reads, and the one that a page shows."""

from pathlib import Path

from PIL import Image

from blip.data.videos.read import VideoFrames, read_video
from blip.data.videos.source import VideoSource
from blip.data.videos.stream import BadVideoError


def read_frames(video: Path | bytes, frames: int, max_pixels: int) -> VideoFrames:
    """Frames of a video of a sample; raises BadVideoError, for a file that cannot be read, too."""
    source: VideoSource = str(video) if isinstance(video, Path) else video
    try:
        return read_video(source, frames, max_pixels=max_pixels)
    except OSError as error:
        raise BadVideoError(f"unreadable: {error.strerror}") from error


def middle_frame(video: Path | bytes, max_pixels: int) -> Image.Image:
    """What stands for a video on a page; raises BadVideoError."""
    # Of two evenly spaced frames the second one lies in the middle.
    return read_frames(video, 2, max_pixels).images()[1]
