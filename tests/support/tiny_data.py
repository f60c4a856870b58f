"""Words, a tokenizer that knows them, and pictures with texts made of them."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blip.data.examples.pairs import PairBatch
from blip.data.sample import Sample
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import write_shards

SENTENCE = "a red circle and blue square near one big green star on grey ground with stripes"
WORDS = SENTENCE.split()


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([" ".join(WORDS)] * 3, vocabulary_size=200)


@pytest.fixture
def batch(tokenizer: Tokenizer) -> PairBatch:
    texts = ["a red circle", "one big green star on grey ground", "blue square", "stripes"]
    return PairBatch(
        images=torch.randn(4, 3, 32, 32),
        texts=tokenizer.encode(texts, 30),
        image_ids=torch.tensor([5, 6, 7, 8]),
        keys=("a", "b", "c", "d"),
    )


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Twelve pictures with one or two texts each."""
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            f"p{number:02d}",
            picture(number),
            tuple(" ".join(rng.choice(WORDS, 4)) for _ in range(1 + number % 2)),
            extension="png",
        )
        for number in range(12)
    ]
    write_shards(samples, tmp_path / "shards", per_shard=5)
    return tmp_path / "shards"
