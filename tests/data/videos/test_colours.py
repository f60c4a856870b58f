"""Colours of frames: the right matrix, upright, and HDR in the range of a usual screen."""

from typing import Any

import numpy as np
import pytest

from blip.data.videos.colours import PQ, tone_map
from blip.data.videos.read import read_video
from tests.support.videos import make_video

RED = (200, 40, 30)


def corner_red(size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Grey, with a red quarter at the top left."""
    pixels = np.full((size[1], size[0], 3), 128, np.uint8)
    pixels[: size[1] // 2, : size[0] // 2] = RED
    return pixels


def where_red(pixels: np.ndarray) -> tuple[str, str]:
    red = pixels[..., 0].astype(int) - pixels[..., 1] > 80
    rows, columns = np.nonzero(red)
    top = rows.mean() < pixels.shape[0] / 2
    left = columns.mean() < pixels.shape[1] / 2
    return "top" if top else "bottom", "left" if left else "right"


def test_colours_survive():
    pixels = np.full((48, 64, 3), RED, np.uint8)
    found = read_video(make_video([pixels] * 3), 1)
    np.testing.assert_allclose(found.pixels(16)[0, 8, 8], RED, atol=6)
    np.testing.assert_allclose(np.asarray(found.images()[0])[20, 20], RED, atol=6)


@pytest.mark.parametrize(
    ("degrees", "corner"),
    [
        (0, ("top", "left")),
        (90, ("bottom", "left")),
        (180, ("bottom", "right")),
        (-90, ("top", "right")),
    ],
)
def test_a_turned_video_is_upright(degrees, corner):
    def turn(stream: Any) -> None:
        stream.set_display_rotation(degrees)

    frames = read_video(make_video([corner_red()] * 2, change=turn), 1)
    (picture,) = frames.images()
    assert picture.size == ((64, 48) if degrees % 180 == 0 else (48, 64))
    assert where_red(np.asarray(picture)) == corner
    assert where_red(frames.pixels(32)[0]) == corner


def test_a_mirrored_video_is_upright():
    def mirror(stream: Any) -> None:
        stream.set_display_rotation(0, hflip=True)

    try:
        content = make_video([corner_red()] * 2, change=mirror)
    except TypeError:
        pytest.skip("this PyAV writes no mirrored videos")
    assert where_red(read_video(content, 1).pixels(32)[0]) == ("top", "right")


def pq(luminance: float) -> float:
    power = (luminance / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def test_white_of_a_page_becomes_white_and_brighter_is_not_darker():
    levels = [0.0, 1.0, 20.0, 100.0, 203.0, 1000.0, 5000.0]
    codes = np.array([[[pq(level) * 65535] * 3 for level in levels]], np.uint16)
    (row,) = tone_map(codes, is_pq=True)
    found = row[:, 0].astype(int).tolist()
    assert found == sorted(found)
    assert found[0] <= 1
    assert found[4] >= 250
    assert found[5] == 255
    assert (np.ptp(row.astype(int), axis=1) <= 1).all()


def test_hlg_grows_from_black_to_white():
    codes = np.array([[[round(v * 65535)] * 3 for v in (0, 0.25, 0.5, 0.75, 1.0)]], np.uint16)
    found = tone_map(codes, is_pq=False)[0, :, 0].astype(int).tolist()
    assert found == sorted(found)
    assert found[0] <= 1
    # BT.2408: a white page is three quarters of the signal.
    assert found[3] >= 245


def test_a_video_in_hdr_is_brought_to_a_usual_screen():
    def tag(stream: Any) -> None:
        stream.codec_context.color_trc = PQ
        stream.codec_context.color_primaries = 9
        stream.codec_context.colorspace = 9

    white = np.full((48, 64, 3), round(pq(203.0) * 65535), np.uint16)
    content = make_video([white] * 2, pix_fmt="yuv420p10le", change=tag)
    found = read_video(content, 1)
    assert found.frames[0].color_trc == PQ
    assert found.pixels(16).min() > 240
    assert found.pixels(16).dtype == np.uint8


def test_ten_bits_of_a_usual_screen_become_eight():
    pixels = np.full((48, 64, 3), RED, np.uint8)
    content = make_video([pixels] * 2, pix_fmt="yuv420p10le")
    np.testing.assert_allclose(read_video(content, 1).pixels(16)[0, 8, 8], RED, atol=6)
