"""The built-in data set on disk: shards of the splits human, web, val and test."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from blip.data.sample import Sample
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.draw import paint
from blip.data.scenes.language import captions
from blip.data.scenes.noise import web_text
from blip.data.scenes.scene import Scene, draw_scene
from blip.data.shards import pack
from blip.files import atomic_folder
from blip.log import progress

Split = Literal["human", "web", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
PER_SHARD = 500


def random_source(config: ScenesConfig, split: Split, number: int) -> np.random.Generator:
    """The random stream of one sample; no two samples of any splits share one."""
    return np.random.Generator(np.random.PCG64([config.seed, SPLITS.index(split), number]))


def draw_sample(config: ScenesConfig, split: Split, number: int) -> tuple[Scene, Sample]:
    """Sample `number` of a split: human, val and test have true captions, web one text."""
    rng = random_source(config, split, number)
    scene = draw_scene(config, rng)
    image = _png(paint(scene, config.image_size, rng))
    meta: dict[str, object] = {"scene": scene.to_json()}
    if split == "web":
        web = web_text(scene, config, rng)
        # For measuring alone; nothing that trains or filters reads it.
        meta["truth"] = {"matches": web.matches, "noise": web.noise}
        texts = (web.text,)
    else:
        texts = tuple(captions(scene, config.captions, rng))
    return scene, Sample(f"{split}-{number:06d}", image, texts, meta, extension="png")


def write_splits(config: ScenesConfig, folder: Path) -> dict[Split, int]:
    """Write `folder/{human,web,val,test}/*.tar`; returns the number of images of each."""
    counts: dict[Split, int] = {split: getattr(config, split) for split in SPLITS}
    with progress(sum(counts.values()), "draw scenes", "images") as bar:
        for split, count in counts.items():

            def samples(split: Split = split, count: int = count) -> Iterator[Sample]:
                for number in range(count):
                    yield draw_sample(config, split, number)[1]
                    bar.advance()

            with atomic_folder(folder / split) as part:
                pack(samples(), part, PER_SHARD)
    return counts


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
