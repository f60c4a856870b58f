"""Frames of videos a second, decoded to a tensor, beside OpenCV on the same files.

    python benchmarks/video.py [--small] [--save]

Videos are drawn here: one like MSVD's clips (128 pixels), one of 720 lines with a keyframe every 10
seconds, and one with a keyframe every second. Eight evenly spaced frames of each become a
normalised tensor (8, 3, 384, 384). The peer reads them in the two ways in which its users do, by
grabbing frame after frame and by setting the position, and squashes by area; the faster way counts.
All take turns; ratios are the median of the rounds. The last line is one JSON object.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import torch
from machine import describe, seconds
from report import print_and_save
from rich.console import Console
from rich.table import Table
from torch import Tensor

from blip.data.transforms import normalise
from blip.data.videos.read import read_video

FRAMES = 8
ALIKE = 0.25
"""Most mean difference of normalised pixels: both squash by filters of their own."""


class Film(NamedTuple):
    """What a video is like."""

    width: int
    height: int
    frames: int
    rate: int
    keyframe_every: int


FILMS = {
    "clip": Film(176, 128, 80, 8, 250),
    "720p": Film(1280, 720, 500, 25, 250),
    "720p_many_keyframes": Film(1280, 720, 500, 25, 25),
}
SMALL = {name: film._replace(width=64, height=48, frames=40) for name, film in FILMS.items()}


def main() -> int:
    """Measure, print, write."""
    args = parse()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    size = 32 if args.small else 384
    ways: dict[str, Callable[[Path, int], Tensor]]
    ways = {"ours": ours, "opencv_grab": opencv_grab, "opencv_seek": opencv_seek}
    rates: dict[str, dict[str, list[float]]] = {}
    alike = True
    with tempfile.TemporaryDirectory() as folder:
        for name, film in (SMALL if args.small else FILMS).items():
            path = Path(folder) / f"{name}.mp4"
            draw(film, path)
            found = [way(path, size) for way in ways.values()]
            alike &= all(float((one - found[0]).abs().mean()) < ALIKE for one in found[1:])
            rates[name] = {way: [] for way in ways}
            for _ in range(args.repeats):
                for way, read in ways.items():
                    taken = seconds(lambda read=read, at=path: read(at, size), torch.device("cpu"))
                    rates[name][way].append(round(FRAMES / taken, 2))
    result = summary(rates, same_results=alike)
    console = Console(width=118, record=True)
    show(console, result)
    print_and_save(result, console, "video.txt" if args.save else None)
    return 0 if alike else 1


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds of each")
    parser.add_argument("--small", action="store_true", help="tiny videos: does it run, and agree?")
    parser.add_argument(
        "--save", action="store_true", help="write the result to benchmarks/results"
    )
    return parser.parse_args()


def draw(film: Film, path: Path) -> None:
    """A video of coarse noise that moves to the left."""
    random = np.random.default_rng(0)
    step = max(1, film.width // 320)
    whole = (film.width + step * film.frames, film.height)
    coarse = random.integers(0, 255, (whole[1] // 16, whole[0] // 16, 3), dtype=np.uint8)
    wide = cv2.resize(coarse, whole, interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=film.rate, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = film.width, film.height, "yuv420p"
        stream.gop_size = film.keyframe_every
        for number in range(film.frames):
            left = step * number
            pixels = wide[:, left : left + film.width].astype(np.uint8, order="C")
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, film.rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def ours(path: Path, size: int) -> Tensor:
    """Frames by this project."""
    return normalise(read_video(path, FRAMES).pixels(size))


def opencv_grab(path: Path, size: int) -> Tensor:
    """Every frame is decoded, and the wanted ones are converted."""
    video = cv2.VideoCapture(str(path))
    wanted, found = places(video), list[np.ndarray]()
    for number in range(wanted[-1] + 1):
        video.grab()
        if number in wanted:
            found.append(squash(video.retrieve()[1], size))
    return normalise(np.stack(found))


def opencv_seek(path: Path, size: int) -> Tensor:
    """The position is set before each wanted frame."""
    video = cv2.VideoCapture(str(path))
    found: list[np.ndarray] = []
    for number in places(video):
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        found.append(squash(video.read()[1], size))
    return normalise(np.stack(found))


def places(video: cv2.VideoCapture) -> list[int]:
    """The numbers of evenly spaced frames."""
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    return [number * count // FRAMES for number in range(FRAMES)]


def squash(frame: np.ndarray, size: int) -> np.ndarray:
    """RGB of a square; by area, which like our filter reads every pixel."""
    rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    return cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA)


def summary(rates: dict[str, dict[str, list[float]]], *, same_results: bool) -> dict[str, Any]:
    """What the last line says."""
    ratios: dict[str, float] = {}
    for name, of_ways in rates.items():
        # By the round: the clock of a machine may change between rounds.
        peers = map(max, of_ways["opencv_grab"], of_ways["opencv_seek"])
        of_rounds = [ours / peer for ours, peer in zip(of_ways["ours"], peers, strict=True)]
        ratios[f"{name}_vs_opencv"] = round(median(of_rounds), 2)
    packages = ("torch", "av", "opencv-python-headless")
    return {
        "ratios": ratios,
        "frames_per_second": rates,
        "same_results": same_results,
        **describe(torch.device("cpu"), torch.float32, packages),
    }


def show(console: Console, result: dict[str, Any]) -> None:
    """The table."""
    console.print(
        f"{result['date']}, commit {result['commit']}; {result['machine']}; "
        f"{result['threads']} threads; same results: {result['same_results']}",
        highlight=False,
    )
    table = Table("video", "ours", "OpenCV, grabbing", "OpenCV, seeking", "ours / best OpenCV")
    for (name, ways), ratio in zip(
        result["frames_per_second"].items(), result["ratios"].values(), strict=True
    ):
        table.add_row(name, *(f"{median(values):.1f}" for values in ways.values()), f"{ratio:.2f}")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
