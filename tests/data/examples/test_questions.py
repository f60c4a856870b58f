"""Questions become examples with weighted answers, in memory, streamed and collated."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.examples.questions import QuestionBatch, QuestionExample, QuestionExamples
from blip.data.loader import Loader
from blip.data.questions import AskedQuestion
from blip.data.sample import OrderedSample, Sample
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import write_shards
from blip.errors import BlipError, UsageError
from tests.support.pictures import photo
from tests.support.streams import assert_resumes
from tests.support.tiny_data import tokenizer

__all__ = ["tokenizer"]


def asked(number: int, *answers: str, text: str = "What colour?") -> dict[str, Any]:
    return AskedQuestion(number, text, answers).to_json()


def sample(key: str, *questions: dict[str, Any], image: bytes | None = None) -> Sample:
    return Sample(key, image or photo(len(key)), meta={"questions": list(questions)})


def config(place: Path | str, **changes: Any) -> DataConfig:
    values: dict[str, Any] = {
        "sources": (SourceConfig(name="q", shards=(str(place),)),),
        "batch_size": 2,
        "image": ImageConfig(size=32),
        "max_tokens": 12,
    }
    return DataConfig(**values | changes)


@pytest.fixture
def examples(tokenizer: Tokenizer) -> QuestionExamples:
    return QuestionExamples(config("unused"), tokenizer)


def make(examples: QuestionExamples, one: Sample, number: int | None) -> QuestionExample:
    selected = examples.check(one).sample
    assert selected is not None
    return examples.make(OrderedSample(selected, "", 0, number), np.random.default_rng(0))


def test_answers_weigh_what_their_share_of_the_annotators_is(examples: QuestionExamples) -> None:
    one = sample("a", asked(1, "red", "red", "blue", "red"), asked(2, "star", text="WHAT (is it)?"))
    assert examples.select(one).num_examples == 2
    assert make(examples, one, 0).answers == pytest.approx({"red": 0.75, "blue": 0.25})
    other = make(examples, one, 1)
    assert (other.question, other.answers) == ("what is it?", {"star": 1.0})
    assert make(examples, one, None).question in ("what colour?", "what is it?")


def test_a_batch_holds_all_answers_with_their_questions(
    examples: QuestionExamples, tokenizer: Tokenizer
) -> None:
    one = sample("a", asked(1, "red", "red", "blue circle"))
    two = sample("bb", asked(2, "star"))
    batch = examples.collate([make(examples, one, 0), make(examples, two, 0)])
    assert len(batch) == 2
    assert batch.images.shape == (2, 3, 32, 32)
    assert batch.asked.tolist() == [0, 0, 1]
    assert batch.weights.tolist() == pytest.approx([2 / 3, 1 / 3, 1.0])
    written = [tokenizer.decode(ids) for ids in batch.answers.ids.tolist()]
    assert written == ["red", "blue circle", "star"]
    moved = batch.to("cpu")
    assert torch.equal(moved.answers.ids, batch.answers.ids)


def test_what_cannot_be_used_is_named(examples: QuestionExamples) -> None:
    cases = {
        "missing_answer: 1 of 1, as 3": sample("a", asked(3)),
        "empty_question: 4": sample("a", asked(4, "red", text="()")),
        "no_question": sample("a"),
        "broken_question: number 0 has no text as its question": sample("a", {"question": 5}),
        "missing_image": Sample("a", None, meta={"questions": [asked(1, "red")]}),
    }
    assert {examples.select(one).fault: examples.select(one).sample for one in cases.values()} == (
        dict.fromkeys(cases)
    )
    partly = examples.select(sample("a", asked(1, "red"), asked(2)))
    assert (partly.num_examples, partly.fault) == (1, "missing_answer: 1 of 2, as 2")
    empty = [asked(number, "red", text="()") for number in (5, 6)]
    partly = examples.select(sample("a", asked(4, "red"), *empty))
    assert (partly.num_examples, partly.fault) == (1, "empty_question: 2 of 3, as 5")
    broken = examples.check(sample("a", asked(1, "red"), image=b"no picture"))
    assert broken.sample is None
    assert broken.fault is not None


@pytest.mark.parametrize("stream", ["never", "always"])
def test_shards_are_read_in_memory_and_streamed(
    tokenizer: Tokenizer, tmp_path: Path, stream: str
) -> None:
    samples = [sample("k" * n, asked(n, "red"), asked(-n, "blue", "star")) for n in range(1, 6)]
    write_shards([*samples, sample("none")], tmp_path / "shards", per_shard=2)
    where = config(tmp_path / "shards", stream=stream, cache=str(tmp_path / "cache"))
    loader: Loader[QuestionExample, QuestionBatch] = Loader(
        where, QuestionExamples(where, tokenizer)
    )
    assert loader.num_examples == (10 if stream == "never" else 6)
    first, again = assert_resumes(loader, keys={one.key for one in samples}, fault="no_question")
    assert torch.equal(again.answers.ids, first.answers.ids)


def test_captions_alone_and_a_prompt_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_shards([Sample("a", photo(), ("a caption",))], tmp_path / "shards")
    where = config(tmp_path / "shards")
    with pytest.raises(BlipError, match="no usable question to train on"):
        Loader(where, QuestionExamples(where, tokenizer))
    with pytest.raises(UsageError, match=r"`data\.prompt` must be empty for questions"):
        QuestionExamples(config("unused", prompt="a picture of "), tokenizer)
