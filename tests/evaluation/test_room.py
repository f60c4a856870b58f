"""Ranking holds as many bytes of images as `room` says, however many there are."""

from dataclasses import dataclass, field
from typing import cast

import pytest
import torch
from torch import Tensor

from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.tokenizer import Tokenizer
from blip.evaluation import room
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.evaluation.ranking import score_candidates
from blip.model.blip import Blip
from blip.model.config import ModelConfig, TextConfig, VisionConfig
from tests.support.tensor_memory import most_bytes

SIDE, WIDTH = 64, 96


@dataclass(frozen=True)
class Noise:
    """Pictures of noise, two texts each."""

    texts: list[list[str]]
    frames: int = 1
    read: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def images(self, start: int, stop: int) -> Tensor:
        self.read.append(stop - start)
        shape = (stop - start, *((self.frames,) if self.frames > 1 else ()), 3, SIDE, SIDE)
        return torch.randn(shape, generator=torch.Generator().manual_seed(start))


def noise(images: int, frames: int = 1) -> Noise:
    words = ("red", "green", "big", "small", "circle", "star", "on", "a")
    spelt = [f"{words[n % 8]} {words[n // 8 % 8]} {words[n // 64 % 8]}" for n in range(2 * images)]
    return Noise([spelt[2 * n : 2 * n + 2] for n in range(images)], frames)


@pytest.fixture(scope="module")
def model() -> Blip:
    vision = VisionConfig(image_size=SIDE, patch_size=8, width=WIDTH, depth=1, heads=2)
    text = TextConfig(
        vocabulary_size=400, width=WIDTH, depth=2, heads=2, mlp_width=2 * WIDTH, positions=40
    )
    torch.manual_seed(0)
    return Blip(ModelConfig(vision=vision, text=text, projection=8)).eval()


def most_of(model: Blip, tokenizer: Tokenizer, data: Noise) -> int:
    config = RetrievalEvaluationConfig(candidates=2, batch_size=32)
    return most_bytes(lambda: score_candidates(model, tokenizer, cast(EvaluationSet, data), config))


def test_memory_does_not_grow_with_images_and_is_what_was_computed(
    model: Blip, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = model.config
    encoding = room.encoding_bytes(config, 1, 4)
    states = config.vision.tokens * WIDTH * 4
    kv = room.kv_bytes(config, config.vision.tokens, 4)
    monkeypatch.setattr(room, "ENCODING_BYTES", 8 * encoding)
    monkeypatch.setattr(room, "KV_BYTES", 4 * kv)
    monkeypatch.setattr(room, "STATES_BYTES", 8 * states)
    # With random weights nearly all texts want the same image.
    monkeypatch.setattr(room, "TOKENS_AT_A_TIME", 128)
    few, many = noise(16), noise(40)
    held = [most_of(model, tokenizer, data) for data in (few, many)]
    assert set(many.read) == {8}
    # Per image its features, ids of its texts, and pairs.
    assert held[1] - held[0] < 24 * 6000
    assert max(held) < 8 * encoding + 4 * kv + (8 + 8) * states + 40 * 6000
    # The bounds are what holds it: with more room it takes more.
    monkeypatch.setattr(room, "TOKENS_AT_A_TIME", 8192)
    monkeypatch.setattr(room, "KV_BYTES", 64 * kv)
    monkeypatch.setattr(room, "ENCODING_BYTES", 64 * encoding)
    assert most_of(model, tokenizer, few) > held[0] + 4 * encoding


def test_frames_of_videos_count(
    model: Blip, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ENCODING_BYTES", 8 * room.encoding_bytes(model.config, 1, 4))
    videos = noise(6, frames=4)
    most_of(model, tokenizer, videos)
    assert set(videos.read) == {2}
    # One is read, however large it is.
    monkeypatch.setattr(room, "ENCODING_BYTES", 1)
    videos.read.clear()
    most_of(model, tokenizer, videos)
    assert set(videos.read) == {1}


def test_texts_are_begun_within_their_room(
    model: Blip, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(16)
    with_room = most_of(model, tokenizer, data)
    monkeypatch.setattr(room, "BEGUN_BYTES", 0)
    without = most_of(model, tokenizer, data)
    assert without <= with_room


def test_sizes_are_those_of_tensors(model: Blip) -> None:
    pixels = torch.randn(3, 3, SIDE, SIDE)
    with torch.inference_mode():
        states = model.encode_image(pixels)
        encoding = most_bytes(lambda: model.encode_image(pixels))
        kv = most_bytes(lambda: model.project_image(states, "bidirectional"))
    assert kv == pytest.approx(3 * room.kv_bytes(model.config, states.shape[1], 4), rel=0.1)
    assert encoding + pixels.nbytes <= 3 * room.encoding_bytes(model.config, 1, 4)
    assert encoding > 2 * room.encoding_bytes(model.config, 1, 4)
