"""The open file of a video, which is given as a path, as bytes, or as a file."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from blip.data.videos.stream import BadVideoError
from blip.errors import ArgumentError
from blip.files import open_regular

VideoSource = str | os.PathLike[str] | bytes | BinaryIO
"""What `read_video` takes."""


@contextmanager
def open_source(source: VideoSource) -> Iterator[BinaryIO]:
    """The open file of a video; raises as `read_video` does."""
    if isinstance(source, bytes | bytearray | memoryview):
        if not source:
            raise BadVideoError("empty_file")
        yield io.BytesIO(source)
    elif isinstance(source, str) and "://" in source:
        raise ArgumentError(
            f"{source} is a URL, and videos are not fetched; download it and give the path"
        )
    elif isinstance(source, str | os.PathLike):
        with open_regular(source) as file:
            if not os.fstat(file.fileno()).st_size:
                raise BadVideoError("empty_file")
            yield file
    elif _is_file(source):
        yield source
    else:
        raise ArgumentError(
            f"a video is a path, bytes or a binary file, got {type(source).__name__}"
        )


def _is_file(source: Any) -> bool:
    return hasattr(source, "read") and hasattr(source, "seek")
