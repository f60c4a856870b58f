"""The next batch is captioned while the filter scores one: two are under way, and no more."""

import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.stand_in import stand_in_device
from blip.capfilt.config import NUCLEUS
from blip.capfilt.models.checkpoints import CheckpointModels
from blip.capfilt.models.protocols import Models, OutOfMemoryError, Score
from blip.errors import NotFiniteError
from tests.support.capfilt import FakeCaptioner, FakeFilter, output_bytes, web_shard
from tests.support.released_models import WORDS, hugging_face
from tests.support.shard_job import process

PICTURES = 14
"""Three batches of four, and one of two."""


@dataclass(frozen=True)
class Watched(FakeCaptioner, FakeFilter):
    """Both models, which note what is asked of them; at some `place` one of them fails."""

    image_size: int = 16
    events: list[str] = field(default_factory=list)
    place: str = ""
    error: BaseException = field(default_factory=KeyboardInterrupt)
    sent: list[weakref.ref[Tensor]] = field(default_factory=list)
    alive: list[int] = field(default_factory=list)

    def note(self, what: str, number: int) -> None:
        self.events.append(f"{what} {number}")
        if self.place == self.events[-1]:
            raise self.error

    def count(self, what: str) -> int:
        return sum(event.startswith(what) for event in self.events)

    def send(self, images: Sequence[Tensor]) -> Sequence[Tensor]:
        """A batch on a device of its own; threads call it."""
        batch = torch.stack(list(images)) if images else torch.empty(0, 3, 16, 16)
        self.sent.append(weakref.ref(batch))
        return batch.unbind()

    def caption(self, images: Sequence[Tensor], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        gc.collect()
        self.alive.append(sum(one() is not None for one in self.sent))
        self.note("caption", self.count("caption"))
        return super().caption(images, seeds)

    def begin(
        self, images: Sequence[Tensor], texts: Sequence[Sequence[str]]
    ) -> Callable[[], list[list[Score]]]:
        number = self.count("begin")
        self.note("begin", number)

        def finish() -> list[list[Score]]:
            self.note("finish", number)
            return super(Watched, self).score(images, texts)

        return finish


def models(watched: Watched) -> Models:
    return Models(watched, watched, watched.send, watched.send)


def test_a_batch_is_captioned_before_the_scores_of_the_one_before_are_read(tmp_path: Path) -> None:
    web_shard(tmp_path / "in.tar", range(PICTURES))
    watched = Watched()
    process(tmp_path / "in.tar", tmp_path / "out", models(watched))
    assert watched.events == [
        *("caption 0", "begin 0"),
        *("caption 1", "begin 1", "finish 0"),
        *("caption 2", "begin 2", "finish 1"),
        *("caption 3", "begin 3", "finish 2"),
        "finish 3",
    ]
    at_once = Models(FakeCaptioner(16), FakeFilter())
    process(tmp_path / "in.tar", tmp_path / "plain", at_once)
    assert output_bytes(tmp_path / "out") == output_bytes(tmp_path / "plain")


def test_batches_that_are_done_with_are_freed(tmp_path: Path) -> None:
    web_shard(tmp_path / "in.tar", range(40))
    watched = Watched()
    process(tmp_path / "in.tar", tmp_path / "out", models(watched))
    # Of two models each: the batch that the filter scores, this one, and that which threads decode.
    assert max(watched.alive) <= 2 * 3
    assert len(watched.sent) > 2 * 9


@pytest.mark.parametrize("place", ["caption 0", "caption 2", "begin 1", "finish 0", "finish 3"])
@pytest.mark.parametrize(
    "error", [OutOfMemoryError("none left"), NotFiniteError("nan"), KeyboardInterrupt()]
)
def test_what_either_model_raises_comes_out_and_no_thread_stays(
    tmp_path: Path, place: str, error: BaseException
) -> None:
    web_shard(tmp_path / "in.tar", range(PICTURES))
    before = set(threading.enumerate())
    with pytest.raises(type(error)) as raised:
        process(tmp_path / "in.tar", tmp_path / "out", models(Watched(place=place, error=error)))
    assert str(error) in str(raised.value)
    assert set(threading.enumerate()) <= before
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_the_scores_of_a_batch_are_copied_before_the_next_one_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = hugging_face(tmp_path / "model", "bidirectional")
    captioner = hugging_face(tmp_path / "captioner", "causal")
    opened = CheckpointModels(
        captioner=str(captioner),
        filter=str(source),
        decoding=NUCLEUS,
        captions=1,
        captioner_device="cpu",
        filter_device="cpu",
    )
    matcher = opened.load(0, opened.fingerprints()).filter
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).unbind()
    texts = [WORDS, WORDS[:1], WORDS[:2]]
    expected = matcher.begin(images, texts)()
    copies: list[Tensor] = []
    waited: list[int] = []

    def fetch(tensor: Tensor) -> Callable[[], Tensor]:
        """As from a GPU: what asks for the copy waits for it, and for nothing begun after it."""
        number = len(copies)
        copies.append(tensor)

        def wait() -> Tensor:
            waited.append(number)
            return tensor.held  # pyright: ignore[reportAttributeAccessIssue]

        return wait

    monkeypatch.setattr("blip.inference.matcher.fetch", fetch)
    with torch.inference_mode(), stand_in_device() as device:
        device.move(matcher.matcher.model)  # pyright: ignore[reportAttributeAccessIssue]
        finish = matcher.begin(images, texts)
        assert (len(copies), waited) == (1, [])
        matcher.begin(images, texts)
        assert (len(copies), waited) == (2, [])
        assert device.launches
        device.launches.clear()
        found = finish()
        assert waited == [0]
        # Whatever else read a value would wait for the second batch, too.
        assert not device.reads
        assert not device.launches
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), atol=1e-5, rtol=0)
