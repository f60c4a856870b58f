"""One picture has the same pixels in whatever form it comes; anything else ends in one line."""

import http.server
import io
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from blip.data.image_sources import read_image
from blip.data.images import BadImageError, decode_image
from blip.errors import ArgumentError
from tests.support.flaky_server import Server
from tests.support.pictures import bomb, encode, pixels


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(Image.fromarray(pixels(20, 30)), "JPEG", exif=exif)


def clear() -> bytes:
    image = Image.new("RGBA", (9, 7), (200, 0, 0, 0))
    image.putpixel((0, 0), (200, 0, 0, 255))
    return encode(image)


def deep() -> bytes:
    grey = np.linspace(0, 65535, 9 * 7).reshape(7, 9).astype(np.uint16)
    return encode(Image.fromarray(grey))


def palette() -> bytes:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    return encode(image, transparency=1)


@pytest.mark.parametrize("make", [turned, clear, deep, palette])
def test_a_file_is_the_same_in_every_form(make: Any, tmp_path: Path) -> None:
    content = make()
    expected = np.asarray(decode_image(content))
    path = tmp_path / "picture"
    path.write_bytes(content)
    opened = Image.open(io.BytesIO(content))
    mode, size = opened.mode, opened.size
    with path.open("rb") as file:
        for form in (content, bytearray(content), path, str(path), file, opened, opened):
            image = read_image(form)
            assert image.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(image), expected)
    assert (opened.mode, opened.size) == (mode, size)


@pytest.mark.parametrize("mode", ["La", "RGBa", "LAB", "HSV", "YCbCr", "CMYK", "PA"])
def test_every_mode_that_pillow_makes(mode: str) -> None:
    grey = Image.new("LA", (4, 4), (100, 128)).convert("La") if mode == "La" else None
    image = read_image(grey or Image.new(mode, (4, 4)))
    assert (image.mode, image.size) == ("RGB", (4, 4))
    if grey:
        # Half of it is white.
        assert image.getpixel((0, 0)) == pytest.approx((177, 177, 177), abs=2)


def test_arrays_and_tensors() -> None:
    red = pixels(7, 9)
    for form in (
        red,
        red / 255,
        (red / 255).astype(np.float32),
        np.dstack([red, np.full((7, 9), 255, np.uint8)]),
        torch.from_numpy(red).permute(2, 0, 1),
        torch.from_numpy(red).permute(2, 0, 1) / 255,
        (torch.from_numpy(red).permute(2, 0, 1) / 255).requires_grad_(),
        np.asfortranarray(red),
    ):
        np.testing.assert_array_equal(np.asarray(read_image(form)), red)
    grey = red[:, :, 0]
    for form in (grey, grey[:, :, None], torch.from_numpy(grey)[None], grey / 255):
        np.testing.assert_array_equal(np.asarray(read_image(form)), np.dstack([grey] * 3))
    wide = np.array([[0, 65535, 256]], np.uint16)
    np.testing.assert_array_equal(np.asarray(read_image(wide))[0, :, 0], [0, 255, 0])
    transparent = np.zeros((2, 2, 4))
    assert np.asarray(read_image(transparent)).min() == 255


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((3, 8, 8)), r"\(height, width\) or \(height, width, 1, 3 or 4\), got \(3, 8, 8"),
        (np.zeros((4, 4, 3), np.int64), "must hold uint8, uint16 or floats in 0..1, got int64"),
        (torch.zeros(3, 4, 4, dtype=torch.int32), "got int32"),
        (np.full((4, 4, 3), 255.0), r"must lie in 0..1, got 255..255; divide"),
        (np.full((4, 4), np.nan), "must lie in 0..1, got nan..nan"),
        (torch.zeros(5, 4, 3), r"a tensor must be \(1, 3 or 4, height, width\), got \(5, 4, 3\)"),
        (None, "got NoneType"),
        (io.StringIO("text"), "opened in binary mode"),
        ("ftp://example.org/a.jpg", "allowed are a path and http://"),
    ],
)
def test_a_file_that_is_not_a_picture_is_a_value_error(source: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_image(source)
    assert isinstance(caught.value, ArgumentError)


def test_limits_hold_for_every_form(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="too_many_pixels"):
        read_image(bomb())
    for form in (np.zeros((10, 10), np.uint8), Image.new("RGB", (10, 10)), clear()):
        with pytest.raises(BadImageError, match="too_many_pixels"):
            read_image(form, max_pixels=50)
    with pytest.raises(BadImageError, match="zero_size"):
        read_image(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.jpg")


def test_a_limit_may_be_above_that_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    content = encode(Image.new("RGB", (10, 10)))
    assert read_image(content, max_pixels=100).size == (10, 10)
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(BadImageError, match="too_many_pixels"):
        read_image(content, max_pixels=99)


def test_a_picture_that_was_closed_is_a_bad_one(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(clear())
    with Image.open(path) as image:
        pass
    with pytest.raises(BadImageError, match="broken_image"):
        read_image(image)


class Odd(http.server.BaseHTTPRequestHandler):
    """Answers that never end, come slowly, or lead elsewhere."""

    def log_message(self, format: str, *args: object) -> None:
        """Not to the terminal."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/picture?size=large&name=a.jpg")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        if self.path.startswith("/picture"):
            self.wfile.write(turned())
            return
        with suppress(OSError):
            while True:
                self.wfile.write(b"\xff" * 1000)
                time.sleep(0.1 if self.path == "/slow" else 0.0)

    def do_HEAD(self) -> None:
        self.send_error(405)


@pytest.fixture
def odd_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_address_is_read_like_a_file(odd_server: str) -> None:
    expected = np.asarray(decode_image(turned()))
    for path in ("/picture", "/picture?size=large", "/moved"):
        assert np.array_equal(np.asarray(read_image(odd_server + path)), expected)


def test_what_an_address_gives_is_limited(odd_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blip.data.image_sources.IMAGE_LIMIT", 100_000)
    with pytest.raises(BadImageError, match=r"^file_too_large$"):
        read_image(f"{odd_server}/endless")
    monkeypatch.setattr("blip.data.readers.remote.SMALL_SECONDS", 0.2)
    with pytest.raises(BadImageError, match=r"^cannot fetch: not done in 0 s$"):
        read_image(f"{odd_server}/slow")
    with pytest.raises(BadImageError, match=r"^too_many_pixels$"):
        read_image(f"{odd_server}/picture", max_pixels=10)


def test_all_attempts_together_have_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blip.data.readers.remote.SMALL_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/a.png"
        with pytest.raises(BadImageError, match=r"^cannot fetch: not done in 0 s$"):
            read_image(address)


def test_an_address_that_cannot_be_fetched_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blip.data.readers.remote.FIRST_PAUSE", 0.001)
    (tmp_path / "turned.jpg").write_bytes(turned())
    (tmp_path / "junk.jpg").write_bytes(b"junk")
    with Server(tmp_path) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(BadImageError, match=r"^cannot fetch: 404[^\n]*$"):
            read_image(f"{server.url}/none.jpg")
        with pytest.raises(BadImageError, match=r"^not_an_image$"):
            read_image(f"{server.url}/junk.jpg")
        server.flaky = True
        for _ in range(4):
            assert read_image(f"{server.url}/turned.jpg").size == decode_image(turned()).size
        server.shutdown()
    with pytest.raises(BadImageError, match=r"^cannot fetch: Cannot connect[^\n]*3 of 3\)$"):
        read_image(f"{server.url}/turned.jpg")
    for wrong in ("http://x/a.mp4?size=1", "http://[x", "http://x:y/a.jpg", "https:///a.jpg"):
        with pytest.raises(ArgumentError, match=rf"^cannot read {re.escape(wrong)}: "):
            read_image(wrong)
