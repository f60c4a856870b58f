"""Statements become examples with two pictures, in memory, streamed, collated and evaluated."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.examples.statement_set import StatementSet
from blip.data.examples.statements import StatementBatch, StatementExample, StatementExamples
from blip.data.loader import Loader
from blip.data.sample import OrderedSample, Sample
from blip.data.statements import PairStatement
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import write_shards
from blip.errors import BlipError, UsageError
from tests.support.pictures import photo
from tests.support.streams import assert_resumes
from tests.support.tiny_data import tokenizer

__all__ = ["tokenizer"]


def stated(name: str, label: bool | None = True, text: str = "A red star.") -> dict[str, Any]:
    return PairStatement(name, text, label).to_json()


def sample(key: str, *statements: dict[str, Any], right: bytes | None = None) -> Sample:
    number = len(key)
    more = (photo(number + 1) if right is None else right,)
    return Sample(key, photo(number), meta={"statements": list(statements)}, more_images=more)


def config(place: Path | str, **changes: Any) -> DataConfig:
    values: dict[str, Any] = {
        "sources": (SourceConfig(name="s", shards=(str(place),)),),
        "batch_size": 2,
        "image": ImageConfig(size=32, crop_scale=(1.0, 1.0), flip=False, augment_ops=0),
        "max_tokens": 12,
    }
    return DataConfig(**values | changes)


@pytest.fixture
def examples(tokenizer: Tokenizer) -> StatementExamples:
    return StatementExamples(config("unused"), tokenizer)


def make(
    examples: StatementExamples, one: Sample, number: int | None, seed: int = 0
) -> StatementExample:
    selected = examples.check(one).sample
    assert selected is not None
    return examples.make(OrderedSample(selected, "", 0, number), np.random.default_rng(seed))


def test_a_batch_holds_left_then_right_images(
    examples: StatementExamples, tokenizer: Tokenizer
) -> None:
    one = sample("a", stated("1"), stated("2", False, "(One BLUE circle)!"))
    made = [
        make(examples, one, 0),
        make(examples, one, 1),
        make(examples, sample("bb", stated("3")), 0),
    ]
    batch = examples.collate(made)
    assert len(batch) == 3
    assert batch.images.shape == (6, 3, 32, 32)
    left, right = batch.images.chunk(2)
    assert torch.equal(left[0], left[1])
    assert torch.equal(right[0], right[1])
    # The right picture of "a" is the left one of "bb".
    assert torch.equal(right[0], left[2])
    assert batch.labels.tolist() == [True, False, True]
    written = [tokenizer.decode(ids) for ids in batch.statements.ids.tolist()]
    assert written == ["a red star", "one blue circle", "a red star"]
    assert make(examples, one, None).statement in written
    assert torch.equal(batch.to("cpu").statements.ids, batch.statements.ids)


def test_pictures_change_places_where_the_statement_names_no_side(tokenizer: Tokenizer) -> None:
    swapping = StatementExamples(config("unused"), tokenizer, swap=True)
    texts = (
        ("A star in both.", True),
        ("The left one is red.", False),
        ("a RIGHT star", False),
        ("In the image to the left, there is a star.", False),
        ("The left-hand image shows a star.", False),
        ("the rightmost star", False),
        (f"{'many stars ' * 30} on the left", False),
        ("A bright star is upright.", True),
    )
    for text, may_swap in texts:
        one = sample("a", stated("1", True, text))
        plain = make(StatementExamples(config("unused"), tokenizer), one, 0)
        swapped = 0
        for seed in range(40):
            made = make(swapping, one, 0, seed)
            if np.array_equal(made.left, plain.right):
                assert np.array_equal(made.right, plain.left)
                swapped += 1
        assert (5 < swapped < 35) if may_swap else swapped == 0


def test_what_cannot_be_used_is_named(examples: StatementExamples) -> None:
    alone = Sample("a", photo(1), meta={"statements": [stated("1")]})
    cases = {
        "missing_label: 1 of 1, as 3": sample("a", stated("3", None)),
        "empty_statement: 4": sample("a", stated("4", True, "()")),
        "no_statement": sample("a"),
        "broken_label: 5 has 'maybe'": sample("a", {**stated("5"), "label": "maybe"}),
        "broken_statement: statement 0 is no JSON object": sample("a", "text"),
        "not_two_images: 1": alone,
        "missing_image": Sample("a", None, meta={"statements": [stated("1")]}),
    }
    assert {examples.select(one).fault: examples.select(one).sample for one in cases.values()} == (
        dict.fromkeys(cases)
    )
    partly = examples.select(sample("a", stated("1"), stated("2", None)))
    assert (partly.num_examples, partly.fault) == (1, "missing_label: 1 of 2, as 2")
    broken = examples.check(sample("a", stated("1"), right=b"no picture"))
    assert broken.sample is None
    assert broken.fault is not None


@pytest.mark.parametrize("stream", ["never", "always"])
def test_shards_are_read_in_memory_and_streamed(
    tokenizer: Tokenizer, tmp_path: Path, stream: str
) -> None:
    samples = [sample("k" * n, stated(f"a{n}"), stated(f"b{n}", False)) for n in range(1, 6)]
    write_shards([*samples, sample("none")], tmp_path / "shards", per_shard=2)
    where = config(tmp_path / "shards", stream=stream, cache=str(tmp_path / "cache"))
    loader: Loader[StatementExample, StatementBatch] = Loader(
        where, StatementExamples(where, tokenizer)
    )
    assert loader.num_examples == (10 if stream == "never" else 6)
    assert_resumes(loader, keys={one.key for one in samples}, fault="no_statement")


def test_captions_alone_and_a_prompt_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_shards([Sample("a", photo(), ("a caption",))], tmp_path / "shards")
    where = config(tmp_path / "shards")
    with pytest.raises(BlipError, match="no usable statement to train on"):
        Loader(where, StatementExamples(where, tokenizer))
    with pytest.raises(UsageError, match=r"`data\.prompt` must be empty for statements"):
        StatementExamples(config("unused", prompt="a picture of "), tokenizer)


def test_a_set_for_evaluation_keeps_a_picture_once_and_drops_repeated_identifiers(
    tmp_path: Path,
) -> None:
    samples = [
        sample("a", stated("1"), stated("2", None)),
        sample("bb", stated("2"), stated("3", False)),
        sample("ccc", stated("4"), right=b"no picture"),
    ]
    write_shards(samples, tmp_path / "shards")
    found = StatementSet([str(tmp_path / "shards")])
    assert found.counts() == {
        "pairs": 2,
        "statements": 3,
        "statements_without_labels": 1,
        "statements_without_images": 1,
    }
    assert [one.identifier for one in found.statements] == ["1", "2", "3"]
    assert found.bad.counts["duplicate_identifier"] == 1
    assert found.bad.counts.total() == 2
    (_, right), (left, _) = found.decode(range(2))
    assert right is left
    assert len(StatementSet([str(tmp_path / "shards")], most=1)) == 1
    write_shards([sample("a")], tmp_path / "empty")
    with pytest.raises(BlipError, match="no usable statement: no_statement 1"):
        StatementSet([str(tmp_path / "empty")])


def test_statements_without_identifiers_are_all_evaluated(tmp_path: Path) -> None:
    unnamed = [{"text": "A red star.", "label": True}, {"text": "A blue star.", "label": False}]
    write_shards([sample(key, *unnamed) for key in ("a", "bb")], tmp_path / "one")
    write_shards([sample("a", *unnamed)], tmp_path / "two")
    found = StatementSet([str(tmp_path / "one"), str(tmp_path / "two")])
    names = [one.identifier for one in found.statements]
    assert names == ["a/0", "a/1", "bb/0", "bb/1", "a/0-1", "a/1-1"]
    assert not found.bad


def test_lists_of_one_name_without_identifiers_are_all_evaluated(tmp_path: Path) -> None:
    for folder in (tmp_path / "A", tmp_path / "B"):
        folder.mkdir()
        (folder / "left.png").write_bytes(photo(1))
        (folder / "right.png").write_bytes(photo(2))
        one = {"sentence": "A star.", "label": "True", "left": "left.png", "right": "right.png"}
        (folder / "dev.json").write_text(json.dumps([one, one]), encoding="utf-8")
    found = StatementSet([str(tmp_path / "A/dev.json"), str(tmp_path / "B/dev.json")])
    assert found.counts()["statements"] == 4
    assert len({one.identifier for one in found.statements}) == 4
