"""A task with examples of its own gets shards, streams, memory, mixing, resume and workers."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.images import decode_image
from blip.data.loader import Loader
from blip.data.sample import Sample
from blip.data.transforms import eval_pixels
from blip.data.writers.shards import write_shards
from blip.errors import BlipError
from tests.support.pictures import photo
from tests.support.questions import Question, QuestionExamples, Statement, StatementExamples

ANSWERS = ("two", "2", "a pair")


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """Five images with two questions each, and three with one, one of which is broken."""
    many = [
        Sample(f"m{i}", photo(i), meta={"questions": [[f"m{i} {n}", *ANSWERS] for n in range(2)]})
        for i in range(5)
    ]
    few = [Sample(f"f{i}", photo(i), meta={"questions": [[f"f{i} 0", "yes"]]}) for i in range(2)]
    few.append(Sample("bad", b"broken", meta={"questions": [["bad 0", "no"]]}))
    write_shards(many, tmp_path / "many", per_shard=2)
    write_shards(few, tmp_path / "few")
    return [tmp_path / "many", tmp_path / "few"]


def make(
    places: list[Path], stream: str, *, rank: int = 0, ranks: int = 1, **changes: object
) -> Loader[Question, list[Question]]:
    sources = tuple(
        SourceConfig(name=place.name, shards=(str(place),), weight=weight)
        for place, weight in zip(places, (1.0, 2.0), strict=True)
    )
    values: dict = {
        "sources": sources,
        "batch_size": 2,
        "image": ImageConfig(size=16),
        "stream": stream,
        "lanes": 2,
        "shuffle_buffer": 4,
        "cache": str(places[0].parent / "cache"),
    }
    config = DataConfig(**values | changes)
    return Loader(config, QuestionExamples(config), rank, ranks)


def read(loader: Loader[Question, list[Question]], batches: int) -> list[Question]:
    return [row for batch in islice(loader.batches(0), batches) for row in batch]


def test_in_memory_every_question_comes_as_often_as_its_source_says(places: list[Path]) -> None:
    loader = make(places, "never")
    assert (loader.num_examples, loader.steps_per_epoch) == (12, 7)
    assert loader.bad.counts == {"broken": 1}
    seen = Counter(row.text for row in read(loader, 7))
    expected = {f"m{i} {n}": 1 for i in range(5) for n in range(2)}
    assert seen == {**expected, "f0 0": 2, "f1 0": 2}


def test_streamed_every_sample_comes_and_others_stand_in_for_the_broken(
    places: list[Path],
) -> None:
    loader = make(places, "always", batch_size=1)
    assert (loader.num_examples, loader.steps_per_epoch) == (8, 11)
    rows = read(loader, 11)
    assert {row.key for row in rows} == {f"m{i}" for i in range(5)} | {"f0", "f1"}
    assert loader.bad.counts == {"broken": 2}
    assert loader.rows_replaced == 2
    later = read(make(places, "always", batch_size=1), 110)
    assert {row.text for row in later if row.key == "m0"} == {"m0 0", "m0 1"}
    assert {row.answer for row in later if row.key == "m0"} == set(ANSWERS)


@pytest.mark.parametrize("stream", ["never", "always"])
def test_a_run_resumes_at_any_batch_with_any_ranks_and_workers(
    places: list[Path], stream: str
) -> None:
    whole = list(islice(make(places, stream).batches(0), 9))
    assert next(make(places, stream).batches(6)) == whole[6]
    ranks = [next(make(places, stream, rank=r, ranks=2).batches(6)) for r in range(2)]
    assert [row for rows in zip(*ranks, strict=True) for row in rows] == whole[6]
    with_workers = make(places, stream, workers=1).batches(6)
    assert list(islice(with_workers, 3)) == whole[6:]


def test_messages_call_examples_by_their_name(places: list[Path]) -> None:
    empty = places[0].parent / "empty"
    write_shards([Sample("a", photo())], empty)
    with pytest.raises(BlipError, match="no usable question to train on"):
        make([empty, empty], "never")


@pytest.mark.parametrize("stream", ["never", "always"])
def test_a_sample_may_have_further_images(tmp_path: Path, stream: str) -> None:
    pairs = [(photo(2 * n), photo(2 * n + 1)) for n in range(4)]
    samples = [
        Sample(f"s{n}", left, (f"text {n}",), more_images=(right,))
        for n, (left, right) in enumerate(pairs)
    ]
    write_shards([*samples, Sample("one", photo(9), ("text",))], tmp_path / "shards", per_shard=3)
    config = DataConfig(
        sources=(SourceConfig(name="s", shards=(str(tmp_path / "shards"),)),),
        batch_size=5,
        image=ImageConfig(size=30, crop_scale=(1.0, 1.0), flip=False, augment_ops=0),
        stream=stream,
        cache=str(tmp_path / "cache"),
    )
    loader = Loader(config, StatementExamples(config))
    made: list[Statement] = [row for batch in islice(loader.batches(0), 2) for row in batch]
    assert {row.text for row in made} == {f"text {n}" for n in range(4)}
    for row in made:
        left, right = pairs[int(row.text.removeprefix("text "))]
        expected = [eval_pixels(decode_image(content), 30).mean() for content in (left, right)]
        assert row.brightness == pytest.approx(expected)
    assert loader.bad.counts["not_two_images"] > 0
