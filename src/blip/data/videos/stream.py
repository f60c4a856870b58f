"""Frames of a video at given times: decodes what leads to them, and seeks past the rest."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO

from blip.data.faults import BadSampleError
from blip.errors import ArgumentError, BlipError, first_line
from blip.installed import need

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

FORMATS = "mov,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg"
"""No more of what FFmpeg reads: playlists and scripts open other files and addresses."""
MANY_PIXELS = 300_000
"""A frame of more pixels is decoded by several threads."""
UNEVEN_TICKS, UNEVEN_SHARE = 2, 0.1
"""Frames whose times differ by more, in ticks and relative to the usual one, come at a variable
rate: containers round times.
"""
SHORT_TICK = 8
"""A tick is short beside a frame that is shown for so many of them."""
MISSING_SHARE, MISSING_SECONDS = 0.1, 1.0
"""A file without an index that ends this much before the length in its header was cut off."""

FROM_ZERO = ("matroska,webm", "asf")
"""Formats whose headers give the end of the file, even if its first frame is shown later than 0."""

ROUNDING = Fraction(1, 1_000_000)
"""Of a tick."""


class BadVideoError(BadSampleError):
    """The bytes are not a usable video; the message is a short reason."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Where a video's frames lie in time, in ticks of its stream."""

    first: int
    end: int
    """Where the last frame has been shown."""
    last: int
    """No later than the last frame is shown; it is decoded later than all others."""
    keyframes: tuple[int, ...]
    """When the frames are decoded at which decoding can start, ascending; they are shown then, or
    somewhat later."""
    was_read: bool = False
    """Whether the container stands at its end."""
    variable_rate: bool = False
    """Whether frames are shown for different times."""
    usual: int = 1
    """For how many ticks most frames are shown."""

    def spread(self, count: int) -> list[int]:
        """The ticks at which `count` evenly spaced frames are shown (`even_times`).

        Where a tick is short beside a frame, a frame that begins within one is taken as begun:
        Matroska and others round times to milliseconds.
        """
        late = 1 if self.usual >= SHORT_TICK else 0
        return [time + late for time in even_times(self.first, self.end, count)]


def even_times(first: int, end: int, count: int) -> list[int]:
    """`count` ticks from `first` on, evenly spaced over `first` to `end` (not included).

    Of a video whose frames all last alike, number `i` is frame `i * frames // count`.
    """
    return [first + (end - first) * number // count for number in range(count)]


@contextmanager
def open_video(file: BinaryIO, max_pixels: int) -> "Iterator[tuple[InputContainer, VideoStream]]":
    """The container in an open file and its first video stream, checked by its header.

    Raises BadVideoError for what is no video, has no pictures in it or too large ones, and
    UsageError if PyAV is not installed.
    """
    av = need("av", "PyAV", "video")
    with short_reasons(av):
        options = {"format_whitelist": FORMATS, "protocol_whitelist": ""}
        with av.open(file, options=options, metadata_errors="replace") as container:
            # A cover picture of a piece of music is a stream of video, too.
            streams = [
                s for s in container.streams.video if "attached_pic" not in str(s.disposition)
            ]
            if not streams:
                raise BadVideoError("audio_only" if container.streams.audio else "no_video_stream")
            stream = streams[0]
            codec = stream.codec_context
            if codec is None or codec.width < 1 or codec.height < 1:
                raise BadVideoError("zero_size")
            if codec.width * codec.height > max_pixels:
                raise BadVideoError("too_many_pixels")
            # Threads cost more than they save where frames are small.
            stream.thread_type = "AUTO" if codec.width * codec.height > MANY_PIXELS else "NONE"
            yield container, stream


@contextmanager
def short_reasons(av: Any) -> Iterator[None]:
    """Turn FFmpeg's errors into BadVideoError."""
    try:
        yield
    except BlipError:
        raise
    except av.error.EOFError as error:
        raise BadVideoError("truncated_video") from error
    except MemoryError as error:
        raise BadVideoError("out_of_memory") from error
    except av.FFmpegError as error:
        raise BadVideoError(f"broken_video: {error.strerror or first_line(error)}") from error


def find_timeline(container: "InputContainer", stream: "VideoStream") -> Timeline:
    """When frames are shown: by the index in the file, or else by the headers of all packets.

    Nothing is decoded. The index says when frames are decoded, which tells when they are shown
    where all last alike. Raises BadVideoError for a video without frames or times.
    """
    entries = stream.index_entries
    times = [entry.timestamp for entry in entries]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    alike = not gaps or (max(gaps) - min(gaps) <= 1 and min(gaps) > 0)
    if stream.duration and stream.frames > 0 and len(entries) >= stream.frames and alike:
        keys = tuple(sorted(entry.timestamp for entry in entries if entry.is_keyframe))
        first = stream.start_time or 0
        usual = max(gaps, default=1)
        return Timeline(first, first + stream.duration, times[-1], keys, usual=usual)
    return _scan(container, stream)


def _scan(container: "InputContainer", stream: "VideoStream") -> Timeline:
    shown: list[tuple[int, int]] = []
    keys: list[int] = []
    end = 0.0
    for packet in container.demux():
        time = packet.dts if packet.pts is None else packet.pts
        if time is None or packet.time_base is None:
            continue
        end = max(end, float((time + (packet.duration or 0)) * packet.time_base))
        if packet.stream is stream:
            shown.append((time, packet.duration or 0))
            if packet.is_keyframe:
                keys.append(time if packet.dts is None else packet.dts)
    if not shown:
        raise BadVideoError("no_frames")
    whole = _end_in_header(container, stream)
    if whole - end > max(MISSING_SECONDS, MISSING_SHARE * whole):
        raise BadVideoError("truncated_video")
    last = max(shown)
    first = min(shown)[0]
    usual = (last[0] - first) // max(len(shown) - 1, 1)
    end_of_last = last[0] + max(last[1] or usual, 1)
    gaps = [later - earlier for earlier, later in pairwise(sorted(time for time, _ in shown))]
    uneven = max(gaps, default=0) - min(gaps, default=0)
    return Timeline(
        first,
        end_of_last,
        last[0],
        tuple(sorted(keys)),
        was_read=True,
        variable_rate=uneven > max(UNEVEN_TICKS, UNEVEN_SHARE * usual),
        usual=usual,
    )


def _end_in_header(container: "InputContainer", stream: "VideoStream") -> float:
    """In seconds where the header says that a file without an index ends, 0 if it does not."""
    length = (container.duration or 0) / 1e6
    if container.format.name in FROM_ZERO:
        return float(stream.duration * _base(stream)) if stream.duration else length
    if container.format.name == "avi":
        # FFmpeg shortens the length of a file that was cut off, and leaves the number of ticks.
        return max(length, float(stream.frames * _base(stream)))
    return length + (container.start_time or 0) / 1e6


def ticks(stream: "VideoStream", timeline: Timeline, seconds: Sequence[float]) -> list[int]:
    """Times in seconds from the first frame on, in ticks; raises BadVideoError past the end."""
    length = float((timeline.end - timeline.first) * _base(stream))
    for time in seconds:
        if not time >= 0:
            raise ArgumentError(f"times are seconds from 0 on, got {time}")
        if time >= length:
            raise BadVideoError(f"no_frame_at: {time:g} s, of {length:g} s")
    base = _base(stream)
    # A tenth of a second is a little more or less as a float.
    return [timeline.first + int(Fraction(time) / base + ROUNDING) for time in seconds]


def seconds_of(stream: "VideoStream", timeline: Timeline, tick: int) -> float:
    """A time in ticks as seconds from the first frame on."""
    return float((tick - timeline.first) * _base(stream))


def _base(stream: "VideoStream") -> Fraction:
    if stream.time_base is None:
        raise BadVideoError("no_times")
    return stream.time_base


def frames_at(
    container: "InputContainer", stream: "VideoStream", timeline: Timeline, times: Sequence[int]
) -> "Iterator[av.VideoFrame]":
    """For each of ascending times in ticks the frame that is shown then.

    Seeks where a keyframe lies between the last decoded frame and the next one to return. Raises
    BadVideoError if the frames cannot be decoded, or end too early.
    """
    av = need("av", "PyAV", "video")
    with short_reasons(av):
        decoder = _Decoder(container, stream, timeline)
        for time in times:
            yield decoder.frame_at(time)


class _Decoder:
    """Decodes forwards, seeks, and drops frames that no other needs on the way to the wanted one.

    Packets come in the order in which they are decoded, and a frame is never shown before its place
    in this order (`dts`). So once that lies past the wanted time, the frame is known: it is the
    last to be shown among those whose packets went by.
    """

    def __init__(
        self, container: "InputContainer", stream: "VideoStream", timeline: Timeline
    ) -> None:
        self.container, self.stream, self.timeline = container, stream, timeline
        self.can_seek = True
        self._begin()
        if timeline.was_read:
            self._rewind()

    def frame_at(self, time: int) -> "av.VideoFrame":
        """The last frame that is shown at `time` or before, the first one if there is none."""
        keys = self.timeline.keyframes
        place = bisect_right(keys, time) - 1
        if self.can_seek and place > 0 and keys[place] > self.passed:
            self._seek(place)
        if not self._decode_to(time, may_skip=True):
            # A frame was dropped, or the keyframe that stands before this time is shown after it.
            self._seek(place - 1)
            self._decode_to(time, may_skip=False)
        found = self.shown
        if found is None:
            self._rewind()
            found = self._next()
        if found is None:
            raise BadVideoError("no_frames")
        if self.ended and self.passed < min(time, self.timeline.last):
            raise BadVideoError("truncated_video")
        return found

    def _begin(self) -> None:
        """Read from where the container stands."""
        self.packets = self.container.demux(self.stream)
        self.decoded = deque["av.VideoFrame"]()
        self.shown: av.VideoFrame | None = None
        self.passed = self.timeline.first
        self.seen: list[int] = []
        self.waiting: av.Packet | None = None
        self.ended = False

    def _seek(self, place: int) -> None:
        """Go to a keyframe, or to one before it where the container does not find this one."""
        passed, keys = self.passed, self.timeline.keyframes
        # MP4 looks for a keyframe by when it is shown, most others by when it is decoded.
        delay = max(self.timeline.first - keys[0], 0) if keys else 0
        for key in reversed(keys[: place + 1]):
            self.container.seek(key + delay, stream=self.stream)
            self._begin()
            packet = self._peek()
            if packet is not None and packet.is_keyframe and _decoded_at(packet) <= key:
                # A container without an index may go back further than decoding had come.
                self.can_seek = self.can_seek and _decoded_at(packet) >= min(passed, key)
                return
        self._rewind()

    def _rewind(self) -> None:
        """Go to the first frame."""
        start = self.timeline.keyframes[0] if self.timeline.keyframes else self.timeline.first
        self.container.seek(start, stream=self.stream)
        self._begin()

    def _decode_to(self, time: int, *, may_skip: bool) -> bool:
        """Make the frame `shown` that is shown at `time`; whether it is there."""
        codec = self.stream.codec_context
        while not self._has_passed(time) and (packet := self._peek()) is not None:
            if packet.dts is not None and packet.dts > time and self.seen:
                break
            needless = may_skip and _time_of(packet) + (packet.duration or 0) < time
            codec.skip_frame = "NONREF" if needless else "DEFAULT"
            self._feed()
        codec.skip_frame = "DEFAULT"
        wanted = max((at for at in self.seen if at <= time), default=None)
        while not self._has_passed(time) and self._peek() is not None:
            if self.shown is not None and _time_of(self.shown) == wanted:
                break
            self._feed()
        if self.shown is None:
            return False
        self.seen = [at for at in self.seen if at >= _time_of(self.shown)]
        return _time_of(self.shown) == wanted

    def _has_passed(self, time: int) -> bool:
        """Move on to the last decoded frame no later than `time`; whether a later one is there."""
        while self.decoded and _time_of(self.decoded[0]) <= time:
            self.shown = self.decoded.popleft()
        return bool(self.decoded)

    def _peek(self) -> "av.Packet | None":
        """The next packet of the video; the one at the end is empty, and flushes the decoder."""
        while self.waiting is None and not self.ended:
            packet = next(self.packets, None)
            if packet is None:
                return None
            if packet.size == 0:
                self.decoded += packet.decode()
                self.ended = True
            elif packet.pts is not None or packet.dts is not None:
                self.waiting = packet
        return self.waiting

    def _feed(self) -> None:
        packet = self._peek()
        if packet is not None:
            self.waiting = None
            time = _time_of(packet)
            self.seen.append(time)
            self.passed = max(self.passed, time)
            self.decoded += packet.decode()

    def _next(self) -> "av.VideoFrame | None":
        """The next frame in the order in which they are shown; None after the last one."""
        while not self.decoded and self._peek() is not None:
            self._feed()
        return self.decoded.popleft() if self.decoded else None


def _time_of(thing: "av.VideoFrame | av.Packet") -> int:
    """When a frame is shown, in ticks; where the file does not say it, when it is decoded."""
    time = thing.dts if thing.pts is None else thing.pts
    if time is None:
        raise BadVideoError("no_times")
    return time


def _decoded_at(packet: "av.Packet") -> int:
    return _time_of(packet) if packet.dts is None else packet.dts
