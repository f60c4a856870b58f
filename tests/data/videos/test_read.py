"""Frames of videos: the right ones, at little cost, and a reason where there are none."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blip.data.videos import stream as streams
from blip.data.videos.read import VideoFrames, read_video
from blip.data.videos.stream import BadVideoError, even_times
from blip.errors import ArgumentError, UsageError
from tests.support import videos
from tests.support.videos import numbered

CONTAINERS = [
    ("mp4", "libx264"),
    ("mov", "mpeg4"),
    ("matroska", "libx264"),
    ("webm", "libvpx-vp9"),
    ("avi", "mpeg4"),
    ("mpegts", "libx264"),
    ("flv", "libx264"),
]


def shown(content: bytes, total: int, *args: object, **options: object) -> list[int]:
    frames = read_video(content, *args, **options)
    return [videos.number_of(pixels, total) for pixels in frames.pixels(16)]


@given(
    frames=st.integers(1, 5000),
    count=st.integers(1, 64),
    length=st.integers(1, 2000),
    first=st.integers(-5000, 5000),
)
def test_even_times_are_those_of_evenly_spaced_frames(frames, count, length, first):
    times = even_times(first, first + frames * length, count)
    assert times[0] == first
    assert times == sorted(times)
    assert [(time - first) // length for time in times] == [
        n * frames // count for n in range(count)
    ]


@pytest.mark.parametrize(("form", "codec"), CONTAINERS)
def test_frames_are_evenly_spaced_in_every_container(form, codec):
    content = numbered(40, form=form, codec=codec)
    assert shown(content, 40, 8) == [n * 5 for n in range(8)]
    assert shown(content, 40, 3) == [0, 13, 26]


@pytest.mark.parametrize("rate", [24, 30])
@pytest.mark.parametrize(("form", "codec"), [*CONTAINERS, ("asf", "wmv2")])
def test_frames_are_evenly_spaced_where_times_are_rounded(form, codec, rate):
    content = numbered(40, form=form, codec=codec, rate=rate)
    for count in (3, 8, 16):
        assert shown(content, 40, count) == [n * 40 // count for n in range(count)]


@settings(max_examples=25, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 9), min_size=2, max_size=30),
    wanted=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=6),
    gop=st.integers(1, 40),
    form=st.sampled_from(["mp4", "matroska"]),
)
def test_a_frame_is_shown_until_the_next_one_comes(gaps, wanted, gop, form):
    times = np.cumsum([0, *gaps]).tolist()
    content = numbered(len(times), times=times, gop=gop, form=form)
    at = sorted(round(share * times[-1]) / 10 for share in wanted)
    expected = [max(n for n, time in enumerate(times) if time / 10 <= one) for one in at]
    found = read_video(content, times=at)
    assert [videos.number_of(p, len(times)) for p in found.pixels(16)] == expected
    assert found.times == pytest.approx([times[n] / 10 for n in expected])


def test_a_still_video_gives_its_frame_repeatedly():
    assert shown(numbered(1), 1, 4) == [0, 0, 0, 0]
    assert shown(numbered(2), 2, 5) == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(("gop", "most"), [(10, 60), (100, 170)])
def test_frames_far_apart_are_reached_by_seeking(monkeypatch, gop, most):
    content = numbered(200, gop=gop)
    decoded: list[int] = []
    real = streams._Decoder._feed

    def feed(self: object) -> None:
        decoded.append(1)
        real(self)

    monkeypatch.setattr(streams._Decoder, "_feed", feed)
    read_video(content, 4)
    assert len(decoded) < most


def test_a_path_bytes_and_an_open_file_give_the_same(tmp_path):
    content = numbered(20)
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    found = [read_video(source, 4).pixels(16) for source in (path, str(path), content)]
    found.append(read_video(io.BytesIO(content), 4).pixels(16))
    for pixels in found[1:]:
        np.testing.assert_array_equal(pixels, found[0])


def test_frames_become_pictures_as_large_as_the_video():
    frames = read_video(numbered(4), 2)
    assert len(frames) == 2
    assert [picture.size for picture in frames.images()] == [(64, 48)] * 2


def test_pictures_become_frames():
    frames = VideoFrames.from_images([Image.new("L", (20, 10), 7), Image.new("RGB", (5, 5))])
    assert frames.pixels(4).shape == (2, 4, 4, 3)
    with pytest.raises(ArgumentError, match="one frame at least"):
        VideoFrames.from_images([])


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


BROKEN = {
    "empty_file": b"",
    "broken_video": b"no video at all" * 100,
    "audio_only": videos.only_sound(),
    "truncated_video": videos.without_frames(),
    "too_many_pixels": numbered(2),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_what_is_no_video_has_a_reason(reason):
    with pytest.raises(BadVideoError, match=f"^{reason}"):
        read_video(BROKEN[reason], max_pixels=64 if reason == "too_many_pixels" else 10_000)


@pytest.mark.parametrize(("form", "codec"), [*CONTAINERS, ("asf", "wmv2")])
@pytest.mark.parametrize("sound", [0, 4])
def test_the_first_frame_may_come_late(form, codec, sound):
    sound = 0 if form == "webm" else sound
    content = numbered(20, times=range(20, 40), form=form, codec=codec, sound=sound)
    assert 0 in shown(content, 20, 4)


@pytest.mark.parametrize(
    ("form", "codec"), [("mp4", "libx264"), ("matroska", "libx264"), ("avi", "mpeg4")]
)
def test_a_truncated_video_is_refused_and_not_shortened(form, codec):
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    content = videos.make_video([*noise], form=form, codec=codec)
    if form == "mp4":
        content = videos.index_first(content)
    with pytest.raises(BadVideoError, match=r"^(truncated|broken)_video"):
        read_video(half(content), 8)


def test_a_playlist_opens_no_other_file(tmp_path):
    (tmp_path / "a.mpegts").write_bytes(numbered(3, form="mpegts"))
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{tmp_path}/a.mpegts\n"
    with pytest.raises(BadVideoError, match=r"^broken_video"):
        read_video((text + "#EXT-X-ENDLIST\n").encode())


def test_sound_that_lasts_longer_than_the_pictures_changes_nothing():
    for form in ("mp4", "matroska"):
        assert shown(numbered(10, sound=4, form=form), 10, 5) == [0, 2, 4, 6, 8]


def test_wrong_arguments_are_one_line():
    content = numbered(10)
    for options in ({"frames": 0}, {"times": []}, {"times": [0.5, 0.1]}, {"times": [-1.0]}):
        with pytest.raises(ArgumentError):
            read_video(content, **options)
    with pytest.raises(BadVideoError, match=r"^no_frame_at: 1 s, of 1 s"):
        read_video(content, times=[0.0, 1.0])
    with pytest.raises(ArgumentError, match="is a URL, and videos are not fetched"):
        read_video("https://host/a.mp4")
    with pytest.raises(ArgumentError, match="got int"):
        read_video(3)


def test_without_pyav_the_extra_is_named(monkeypatch):
    def missing(module: str, name: str, extra: str) -> None:
        raise UsageError(f"{name} is not installed; pip install 'blip-capfilt[{extra}]'")

    monkeypatch.setattr(streams, "need", missing)
    with pytest.raises(UsageError, match=r"pip install 'blip-capfilt\[video\]'"):
        read_video(numbered(2))


def test_ffmpeg_prints_nothing(capfd):
    with pytest.raises(BadVideoError):
        read_video(half(videos.index_first(numbered(60))), 8)
    assert capfd.readouterr().err == ""
