"""Captions, verdicts and samples of the output."""

import json
import tarfile
from pathlib import Path

import pytest
import torch

from blip.capfilt.ledger.records import Counts, Source, TextRecord
from blip.capfilt.models.protocols import Score
from blip.capfilt.stages.caption import caption_seed, write_captions
from blip.capfilt.stages.filter import judge
from blip.capfilt.stages.merge import write_kept
from blip.data.readers.shards import read_shard
from blip.data.sample import Sample
from blip.data.writers.shards import ShardWriter
from blip.errors import BlipError
from tests.support.capfilt import FakeCaptioner, FakeFilter


def square(colour: int, size: int) -> torch.Tensor:
    image = torch.zeros(3, size, size)
    image[colour] = 1
    return image


def record(
    source: Source = "web", number=0, kept=True, key="a", reason="match", text="t"
) -> TextRecord:
    return TextRecord(
        shard="s",
        key=key,
        source=source,
        number=number,
        text=text,
        itm_score=0.75,
        itc_cosine=0.5,
        kept=kept,
        reason=reason,
        captioner="c",
        filter="f",
        seed=3,
        width=64,
        height=48,
        image_hash=5,
        language=None,
        repeats=None,
        error=None,
    )


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


def test_all_texts_of_all_images_are_scored_in_one_call():
    calls = []

    class Counting(FakeFilter):
        def score(self, images, texts):
            calls.append([list(row) for row in texts])
            return super().score(images, texts)

    images = [square(0, 16), square(1, 16), square(2, 16)]
    texts = [["Red!", "a BLUE one"], ["", "  ...  "], ["blue", "", "red"]]
    verdicts = judge(Counting(), images, texts)
    assert calls == [[["red", "a blue one"], ["blue", "red"]]]
    assert [[v.reason for v in row] for row in verdicts] == [
        ["match", "match"],
        ["empty_text", "empty_text"],
        ["match", "empty_text", "match"],
    ]
    assert verdicts[0][0].itm_score == 0.9
    assert verdicts[1][0].itm_score is None


@pytest.mark.parametrize(
    ("itm", "reason", "kept_score"),
    [
        (0.5, "match", 0.5),
        (0.4999999, "match", 0.5),
        (0.499999, "match", 0.499999),
        (float("nan"), "score_not_finite", None),
    ],
)
def test_scores_are_rounded_before_anything_is_decided(itm, reason, kept_score):
    class Fixed:
        image_size = 16

        def score(self, images, texts):
            return [[Score(itm, 0.0)]]

    [[verdict]] = judge(Fixed(), [square(0, 16)], [["red"]])
    assert (verdict.reason, verdict.itm_score) == (reason, kept_score)


def test_one_sample_a_kept_text(tmp_path: Path):
    sample = Sample(
        "a", b"picture", ("web one", "web two"), {"url": "u", "captions": ["x", "y"]}, None, "webp"
    )
    records = [
        record(text="web one"),
        record(number=1, text="web two"),
        record("synthetic", kept=False, reason="below_threshold", text="no"),
        record("synthetic", 1, text="a"),
    ]
    with ShardWriter(tmp_path / "o.tar") as writer:
        write_kept(writer, sample, records)
    read = list(read_shard(tmp_path / "o.tar"))
    assert [s.key for s in read] == ["a-web", "a-web-1", "a-synthetic-1"]
    assert [s.texts for s in read] == [("web one",), ("web two",), ("a",)]
    assert all(s.image == b"picture" and s.error is None and s.extension == "webp" for s in read)
    assert read[2].meta == {
        "url": "u",
        "key": "a",
        "source": "synthetic",
        "itm_score": 0.75,
        "itc_cosine": 0.5,
        "captioner": "c",
        "filter": "f",
        "seed": 3,
        "original": "web one",
    }
    assert read[2].image_key == "a"


def test_meta_that_utf8_cannot_hold_is_written(tmp_path: Path):
    sample = Sample("a", b"p", ("t",), {"odd": "\ud800"})
    with ShardWriter(tmp_path / "o.tar") as writer:
        write_kept(writer, sample, [record()])
    with tarfile.open(tmp_path / "o.tar") as tar:
        file = tar.extractfile("a-web.json")
        assert file is not None
        assert json.loads(file.read())["odd"] == "?"


def test_counts_add_up_and_survive_json():
    counts = Counts()
    counts.add_sample([record(), record("synthetic", kept=False, reason="below_threshold")])
    counts.add_sample([record(kept=False, reason="empty_text")])
    counts.add_sample([record("bad", kept=False, reason="truncated_image")])
    counts.check(3)
    assert (counts.images_kept, counts.images_dropped, counts.images_bad) == (1, 1, 1)
    assert (counts.web_kept, counts.web_dropped, counts.synthetic_dropped) == (1, 1, 1)
    again = Counts.from_json(json.loads(json.dumps(counts.to_json())))
    assert again == counts
    again.add(counts)
    again.check(6)
    with pytest.raises(BlipError):
        counts.check(4)
