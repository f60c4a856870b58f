"""What recutting a job must give again, and pictures that nearly repeat."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from blip.data.writers.shards import ShardWriter
from tests.support.capfilt import (
    output_bytes,
)

SAME = ("shards/", "ledger/", "texts/")
"""What is compared: markers tell of other inputs, and the settings are named otherwise."""


def data_bytes(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in output_bytes(out).items() if name.startswith(SAME)}


def photos(folder: Path) -> Path:
    """Pictures of which some are copies of others, resized."""
    with ShardWriter(folder / "web/0.tar") as one, ShardWriter(folder / "web/1.tar") as other:
        for number in range(12):
            coarse = np.random.default_rng(number % 5).integers(0, 255, (6, 8, 3), np.uint8)
            size = (80, 60) if number < 5 else (64, 48)
            buffer = io.BytesIO()
            Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, "PNG")
            text = f"red {number % 7}"
            (one if number < 6 else other).write(
                f"{number:02d}", buffer.getvalue(), "png", text, {}
            )
    return folder
