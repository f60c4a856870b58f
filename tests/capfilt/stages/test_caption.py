"""A caption depends on image, key and seed alone."""

import torch

from blip.capfilt.stages.caption import caption_seed, write_captions
from tests.support.capfilt import FakeCaptioner


def square(colour: int, size: int) -> torch.Tensor:
    image = torch.zeros(3, size, size)
    image[colour] = 1
    return image


def test_a_caption_depends_on_its_key_and_number_not_on_its_neighbours():
    images = [square(0, 8), square(1, 8), square(2, 8)]
    together = write_captions(FakeCaptioner(), ["a", "b", "c"], images, captions=2, seed=5)
    alone = write_captions(FakeCaptioner(), ["b"], images[1:2], captions=2, seed=5)
    assert together[1] == alone[0]
    assert len({text for texts in together for text in texts}) == 6
    assert all(text == text.strip() for texts in together for text in texts)


def test_seeds_differ_by_seed_key_and_number_and_fit_64_bits():
    seeds = {caption_seed(s, k, n) for s in (0, 1) for k in ("a", "b") for n in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_no_captions_asks_nothing():
    class Never:
        image_size = 8

        def caption(self, images, seeds):
            raise AssertionError

    images = [square(0, 8)]
    assert write_captions(Never(), ["a"], images, captions=0, seed=0) == [[]]
    assert write_captions(Never(), [], [], captions=1, seed=0) == []
