"""Images to synthetic texts."""

import hashlib
from collections.abc import Sequence

from torch import Tensor

from blip.capfilt.models.protocols import CaptionModel
from blip.inference.base import naming_batch


def write_captions(
    captioner: CaptionModel,
    keys: Sequence[str],
    images: Sequence[Tensor],
    *,
    captions: int,
    seed: int,
) -> list[list[str]]:
    """`captions` texts for every image (3, size, size), stripped.

    A text depends on the image, its key and the seed, not on its neighbours in the batch.
    """
    if captions == 0 or not images:
        return [[] for _ in images]
    seeds = [[caption_seed(seed, key, number) for number in range(captions)] for key in keys]
    with naming_batch(keys[0]):
        return [[text.strip() for text in texts] for texts in captioner.caption(images, seeds)]


def caption_seed(seed: int, key: str, number: int) -> int:
    """The seed of caption `number` of a sample: the same in whatever shard the sample lies."""
    digest = hashlib.sha256(f"{seed}\n{number}\n{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
