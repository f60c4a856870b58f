"""Copies of data without what the pictures say: all grey, or every sample with another's.

A model that was trained on grey pictures knows what texts alone give away; one that was trained on
the real ones and is shown these instead falls back to that if it had used the pictures.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from blip.data.readers.sources import find_sources, read_sources
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from blip.files import atomic_folder

GREY = (128, 128, 128)
SIDE = 32
"""Of the one grey picture: all have the same, as sizes may say something, too."""


def read_all(place: str | Path) -> list[Sample]:
    """The samples of shards or of a table, without those that are broken."""
    read = read_sources(find_sources([str(place)]))
    return [sample for _, sample in read if sample.image is not None]


def write_grey(source: str | Path, out: Path) -> None:
    """Copy samples with one grey picture in the place of each of theirs, unless that is done."""
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), GREY).save(buffer, "PNG")
    grey = buffer.getvalue()
    _write(
        (
            replace(sample, image=grey, more_images=(grey,) * len(sample.more_images))
            for sample in read_all(source)
        ),
        out,
    )


def write_shuffled(source: str | Path, out: Path, seed: int) -> None:
    """Copy samples with the pictures of another sample each, unless that is done.

    No sample keeps its own; raises ValueError for fewer than two.
    """
    samples = read_all(source)
    if len(samples) < 2:
        raise ValueError(f"{source} has {len(samples)} samples; pictures are shuffled among two")
    order = np.random.default_rng(seed).permutation(len(samples))
    # A cycle through all of them: everyone gets the next one's.
    giver = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    _write(_with_pictures_of(samples, giver), out)


def _with_pictures_of(samples: list[Sample], giver: dict[int, int]) -> Iterator[Sample]:
    for place, sample in enumerate(samples):
        other = samples[giver[place]]
        yield replace(
            sample,
            image=other.image,
            extension=other.extension,
            more_images=other.more_images,
        )


def _write(samples: Iterable[Sample], out: Path) -> None:
    if out.is_dir():
        return
    with atomic_folder(out, replaces=("*.tar",)) as part:
        write_shards(samples, part)
