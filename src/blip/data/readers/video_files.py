"""Video files on disk: which names they have."""

import os

VIDEO_EXTENSIONS = (
    *("mp4", "m4v", "mov", "3gp", "mkv", "webm", "avi", "mpg", "mpeg", "m2ts", "mts"),
    *("flv", "wmv", "ogv"),
)
"""How the names of videos end, everywhere."""


def is_video_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file of this name is taken for a video."""
    return os.path.splitext(name)[1][1:].lower() in VIDEO_EXTENSIONS
