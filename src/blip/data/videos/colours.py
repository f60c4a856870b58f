"""A decoded frame to upright RGB of 8 bits, as large as it is or squashed to a square."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8, UInt16

if TYPE_CHECKING:
    import av

PQ, HLG = 16, 18
"""Numbers of the transfer curves of HDR videos in ITU-T H.273: SMPTE ST 2084, and ARIB STD-B67."""
PQ_TOP = 10_000.0
HLG_TOP = 1000.0
"""Luminance of the largest code, in candela per square metre."""
WHITE = 203.0
"""Luminance of a white page in HDR videos (ITU-R BT.2408), which becomes white."""
BRIGHTEST = 1000.0 / WHITE
"""What is shown as bright as can be, relative to white."""
BT709_OF_BT2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
"""Linear RGB of BT.2020's primaries in those of BT.709 (ITU-R BT.2087)."""
BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)


def to_rgb(frame: "av.VideoFrame", size: int | None = None) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of a frame, turned as the video says; with `size` squashed to a square of it.

    HDR (PQ and HLG) is brought to the range and the colours of a usual screen.
    """
    from av.video.reformatter import Interpolation as Scaling

    deep = is_hdr(frame)
    # Without the last flag two pixels side by side would share their colour.
    how = Scaling.BICUBIC | Scaling.ACCURATE_RND | Scaling.BITEXACT | Scaling.FULL_CHR_H_INT
    scaled = frame.reformat(
        width=size,
        height=size,
        # Its planes are those of "rgb24", bit by bit, in a fifth of the time.
        format="rgb48le" if deep else "gbrp",
        interpolation=how,
        threads=1,
    )
    pixels = scaled.to_ndarray()
    if deep:
        pixels = tone_map(pixels, is_pq=frame.color_trc == PQ)
    return _turn(pixels, frame)


def is_hdr(frame: "av.VideoFrame") -> bool:
    """Whether a frame is in PQ or HLG."""
    return frame.color_trc in (PQ, HLG)


def tone_map(
    codes: UInt16[np.ndarray, "height width 3"], *, is_pq: bool
) -> UInt8[np.ndarray, "height width 3"]:
    """HDR codes of BT.2020 (PQ, or HLG) to sRGB: white stays white, what is brighter is rolled off.

    The luminance is compressed by Reinhard's extended curve, and chromaticity is kept.
    """
    signal = codes.astype(np.float32) / 65535.0
    linear = (_from_pq(signal) if is_pq else _from_hlg(signal)) / WHITE
    luminance = np.maximum(linear @ BT2020_LUMA, 1e-6)[..., None]
    linear *= (1.0 + luminance / BRIGHTEST**2) / (1.0 + luminance)
    # Reinhard's curve takes white to a half; this brings it back.
    linear *= (1.0 + 1.0) / (1.0 + 1.0 / BRIGHTEST**2)
    screen = np.clip(linear @ BT709_OF_BT2020.T, 0.0, 1.0)
    encoded = np.where(screen <= 0.0031308, 12.92 * screen, 1.055 * screen ** (1 / 2.4) - 0.055)
    return (encoded * 255.0).round().astype(np.uint8)


def _from_pq(signal: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Luminance of codes in 0..1 (SMPTE ST 2084)."""
    power = signal ** (1 / 78.84375)
    fraction = np.maximum(power - 0.8359375, 0.0) / (18.8515625 - 18.6875 * power)
    return PQ_TOP * fraction ** (1 / 0.1593017578125)


def _from_hlg(
    signal: Float[np.ndarray, "height width 3"],
) -> Float[np.ndarray, "height width 3"]:
    """Luminance of codes in 0..1 on a screen of `HLG_TOP` (ITU-R BT.2100, system gamma 1.2)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = np.maximum(scene @ BT2020_LUMA, 1e-6)[..., None]
    return (HLG_TOP * luminance**0.2 * scene).astype(np.float32)


class Turn(NamedTuple):
    """How the pixels of a frame become upright, in this order."""

    swapped: bool
    """Rows become columns."""
    mirrored: bool
    """Left becomes right."""
    flipped: bool
    """Top becomes bottom."""


def turn_of(frame: "av.VideoFrame") -> Turn:
    """The display matrix of a frame, to the nearest quarter of a turn."""
    side = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return Turn(swapped=False, mirrored=False, flipped=False)
    right_x, right_y, _, down_x, down_y = np.frombuffer(bytes(side)[:20], "<i4").tolist()
    swapped = abs(right_x) + abs(down_y) < abs(right_y) + abs(down_x)
    if swapped:
        right_x, down_y = down_x, right_y
    return Turn(swapped, mirrored=right_x < 0, flipped=down_y < 0)


def _turn(pixels: np.ndarray, frame: "av.VideoFrame") -> np.ndarray:
    """Turned and mirrored by the display matrix."""
    turn = turn_of(frame)
    if not any(turn):
        return pixels
    if turn.swapped:
        pixels = pixels.swapaxes(0, 1)
    if turn.mirrored:
        pixels = pixels[:, ::-1]
    if turn.flipped:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
