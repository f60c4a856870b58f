"""Video files: which names they have, and what lists call them."""

import os

VIDEO_EXTENSIONS = (
    *("mp4", "m4v", "mov", "3gp", "mkv", "webm", "avi", "mpg", "mpeg", "m2ts", "mts"),
    *("flv", "wmv", "ogv"),
)
"""How the names of videos end, everywhere."""
NAMES = ("video", "clip_name", "video_id")
"""What lists and tables call the video of an entry; "key" and "id" often number the entries."""
SIGNATURES = (
    (0, b"\x1a\x45\xdf\xa3", "mkv"),
    (8, b"AVI ", "avi"),
    (4, b"ftypqt", "mov"),
    (4, b"ftyp3g", "3gp"),
    (0, b"FLV", "flv"),
    (0, b"OggS", "ogv"),
    (0, b"\x30\x26\xb2\x75", "wmv"),
    (0, b"\0\0\1", "mpg"),
    (4, b"\x47", "m2ts"),
    (0, b"\x47", "mts"),
)
"""Where in a file the bytes stand that tell its kind."""


def is_video_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file of this name is taken for a video."""
    return os.path.splitext(name)[1][1:].lower() in VIDEO_EXTENSIONS


def extension_of_video(content: bytes) -> str:
    """The extension of a video by its first bytes; `mp4` where the kind is unknown."""
    if b"webm" in content[:64]:
        return "webm"
    found = (name for at, mark, name in SIGNATURES if content.startswith(mark, at))
    return next(found, "mp4")
