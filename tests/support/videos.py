"""Videos of every troublesome kind, as bytes; each frame shows its own number."""

import io
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT = 64, 48
STEP = 5
"""Of the grey values of successive frames."""


def grey(number: int) -> int:
    """The colour of frame `number`."""
    return 20 + STEP * number % 220


def number_of(pixels: np.ndarray, frames: int) -> int:
    """Which of `frames` frames some pixels show."""
    value = float(np.asarray(pixels).mean())
    return min(range(frames), key=lambda n: abs(grey(n) - value))


def plain_frames(count: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[np.ndarray]:
    width, height = size
    return [np.full((height, width, 3), grey(n), np.uint8) for n in range(count)]


def make_video(
    frames: Sequence[np.ndarray],
    *,
    form: str = "mp4",
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 10,
    gop: int = 12,
    times: Sequence[int] | None = None,
    change: Callable[[Any], None] | None = None,
    sound: int = 0,
) -> bytes:
    """A video of RGB frames; `times` are in tenths of a second at rate 10, `sound` in seconds."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, options={"threads": "1"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.gop_size = pix_fmt, gop
        stream.time_base = Fraction(1, rate)
        if change is not None:
            change(stream)
        voice = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for number, pixels in enumerate(frames):
            deep = pixels.dtype == np.uint16
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le" if deep else "rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if voice is not None:
            add_sound(container, voice, sound)
    return buffer.getvalue()


def add_sound(container: Any, stream: Any, seconds: int) -> None:
    """Silence of so many seconds."""
    for start in range(0, 8000 * seconds, 1000):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def numbered(count: int, **options: Any) -> bytes:
    """A video in which each frame has a grey of its own."""
    return make_video(plain_frames(count), **options)


def only_sound() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        add_sound(container, container.add_stream("aac", rate=8000, layout="mono"), 1)
    return buffer.getvalue()


def without_frames() -> bytes:
    """A container whose stream of video was never filled."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.start_encoding()
    return buffer.getvalue()


def index_first(content: bytes) -> bytes:
    """The same mp4 with its index before its frames, as files for streaming have it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mp4"
        with (
            av.open(io.BytesIO(content)) as source,
            av.open(str(path), "w", options={"movflags": "faststart"}) as target,
        ):
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        return path.read_bytes()
