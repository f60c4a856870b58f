"""The comparer: judgements do not depend on batches, and each picture is encoded once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blip import Comparer
from blip.data.images import BadImageError
from blip.data.videos.read import VideoFrames
from blip.errors import ArgumentError, NotFiniteError
from blip.nn.vit import VisionTransformer
from tests.support.saved_models import save_tiny

STATEMENTS = [["a red star", "A big (green) circle!", "stripes"], [], ["blue square"], ["a star"]]


@pytest.fixture(scope="module")
def comparer(tmp_path_factory: pytest.TempPathFactory) -> Comparer:
    return Comparer.load(save_tiny(tmp_path_factory.mktemp("pairs") / "model", "nlvr"))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    source = np.random.default_rng(0)
    return [Image.fromarray(source.integers(0, 255, (30, 40, 3), dtype=np.uint8)) for _ in range(5)]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_judgement_depends_on_its_pair_and_statement_alone(
    comparer: Comparer, pictures: list[Image.Image], batch_size: int
) -> None:
    left, right = pictures[:4], pictures[1:]
    judged = comparer.judge(left, right, STATEMENTS, batch_size=batch_size)
    assert [len(row) for row in judged] == [3, 0, 1, 1]
    for row, statements, *pair in zip(judged, STATEMENTS, left, right, strict=True):
        for one, statement in zip(row, statements, strict=True):
            ((alone,),) = comparer.judge([pair[0]], [pair[1]], [[statement]])
            assert one.probability == pytest.approx(alone.probability, rel=1e-4)
            assert one.is_true == alone.is_true == (one.probability > 0.5)


def test_a_picture_of_several_pairs_is_encoded_once(
    comparer: Comparer, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    real = VisionTransformer.forward

    def noting(self: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
        counts.append(len(images))
        return real(self, images)

    monkeypatch.setattr(VisionTransformer, "forward", noting)
    comparer.judge(pictures[:3], pictures[1:4], [["a star"]] * 3)
    assert counts == [4]


def test_wrong_arguments_are_named(
    comparer: Comparer, pictures: list[Image.Image], tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match="2 left pictures need as many right ones, got 1"):
        comparer.judge(pictures[:2], pictures[:1], [[], []])
    with pytest.raises(ArgumentError, match="1 pairs need as many lists, got 2"):
        comparer.judge(pictures[:1], pictures[:1], [["a"], ["b"]])
    for statement in ("", " ", "(!)"):
        with pytest.raises(ArgumentError, match=r"statements of pair 1: '.*' has no words"):
            comparer.judge(pictures[:1], pictures[:1], [["a star", statement]])
    with pytest.raises(ArgumentError, match="left must be a list of pictures, got a single Image"):
        comparer.judge(pictures[0], pictures[:1], [["a"]])  # pyright: ignore
    with pytest.raises(ArgumentError, match="right must be a list, got NoneType"):
        comparer.judge(pictures[:1], None, [["a"]])  # pyright: ignore
    for batch_size, message in ((0, "must be positive, got 0"), (1.5, "a whole number, got 1.5")):
        with pytest.raises(ArgumentError, match=message):
            comparer.judge([], [], [], batch_size=batch_size)  # pyright: ignore
    for video in (VideoFrames.from_images(pictures), tmp_path / "a.mp4"):
        with pytest.raises(ArgumentError, match=r"right picture of pair 2.* is a video"):
            comparer.judge(pictures[:2], [pictures[0], video], [["a"], ["b"]])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(BadImageError, match=rf"^right picture of pair 2 \({broken}\): "):
        comparer.judge(pictures[:2], [pictures[0], broken], [["a"], ["b"]])


def test_nan_is_refused(tmp_path: Path, pictures: list[Image.Image]) -> None:
    comparer = Comparer.load(save_tiny(tmp_path / "model", "nlvr"))
    with torch.no_grad():
        comparer.model.head[2].bias.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match="logits are NaN"):
        comparer.judge(pictures[:1], pictures[1:2], [["a star"]])
