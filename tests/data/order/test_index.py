"""Sets in memory take every form of data, with the pairs, identities and faults of their packs."""

import json
import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch

import blip.data.order.in_memory as memory_module
from blip.data.config import Collection, DataConfig, ImageConfig, SourceConfig
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.order.choose import is_streamed
from blip.data.pack import pack_collection
from blip.data.tokenizer import Tokenizer
from blip.errors import UsageError
from blip.tasks.config import TokenizerConfig
from blip.tasks.vocabulary import make_tokenizer
from tests.support.pairs import index_pairs, list_pairs, pair_loader
from tests.support.pictures import photo

ROWS = [(name, f"{text} {name}") for text in ("a text of", "another of") for name in "abc"]
FORMS = ("rows.csv", "rows.tsv", "rows.jsonl", "merged.json", "pictures", "*.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three sound images with two texts each and a broken one, in every form."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, name in enumerate("abc"):
        (pictures / f"{name}.png").write_bytes(photo(number))
        texts = [text for of, text in ROWS if of == name]
        (pictures / f"{name}.txt").write_text("\n".join(texts))
    (pictures / "d.png").write_bytes(photo(3)[:100])
    (pictures / "d.txt").write_text("a text of d")
    rows = [*ROWS, ("d", "a text of d")]
    for ending, cut in (("csv", ","), ("tsv", "\t")):
        lines = [("path", "caption"), *((f"pictures/{name}.png", text) for name, text in rows)]
        (tmp_path / f"rows.{ending}").write_text("".join(f"{cut.join(row)}\n" for row in lines))
    records = [{"path": f"pictures/{name}.png", "caption": text} for name, text in rows]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in records))
    merged = [
        {"image": f"pictures/{name}.png", "caption": [t for of, t in rows if of == name]}
        for name in "abcd"
    ]
    (tmp_path / "merged.json").write_text(json.dumps(merged))
    return tmp_path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_pairs_of_its_pack(folder: Path, form: str) -> None:
    source = str(folder / form)
    pack_collection(Collection(source=source), folder / "shards")
    direct, packed = index_pairs([source]), index_pairs([str(folder / "shards")])
    assert list_pairs(direct) == list_pairs(packed)
    assert [s.key for s in direct.samples] == [s.key for s in packed.samples]
    assert direct.size == 6
    assert direct.bad.counts == {"truncated_image": 1}
    judged = [EvaluationSet([place], 16) for place in (source, str(folder / "shards"))]
    assert judged[0].keys == judged[1].keys
    assert judged[0].texts == judged[1].texts
    assert judged[0].bad.counts == {"truncated_image": 1}


def test_tables_of_one_name_in_one_place_do_not_mix_their_images(folder: Path) -> None:
    index = index_pairs([str(folder / "rows.csv"), str(folder / "rows.jsonl")])
    assert len({image for image, _ in list_pairs(index)}) == 6


def test_a_broken_table_among_several_is_one_bad_sample(folder: Path) -> None:
    (folder / "broken.parquet").write_bytes(b"no table")
    index = index_pairs([str(folder / "rows.csv"), str(folder / "broken.parquet")])
    assert (index.size, index.bad.counts["broken_table"]) == (6, 1)
    with pytest.raises(UsageError, match=r"broken\.parquet"):
        index_pairs([str(folder / "broken.parquet")])


def test_beside_tars_only_tars_are_meant(folder: Path) -> None:
    pack_collection(Collection(source=str(folder / "rows.csv")), folder / "shards")
    (folder / "shards" / "README.md").write_text("words")
    (folder / "shards" / "rows.csv").write_text("path,caption\nx.png,a text\n")
    assert index_pairs([str(folder / "shards" / "*")]).size == 6


def test_what_is_remote_is_not_read_into_memory(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"s3://bucket/x\.tar is remote"):
        index_pairs(["s3://bucket/x.tar"])


@pytest.mark.parametrize("form", ["rows.csv", "pictures", "merged.json"])
def test_a_stream_wants_tars_and_says_how_to_pack(folder: Path, form: str) -> None:
    config, tokenizer = (
        data(folder / form, "always"),
        Tokenizer.train(["a text of a"], vocabulary_size=100),
    )
    with pytest.raises(UsageError, match=rf"only tars are streamed; `blip data pack .*{form} OUT`"):
        pair_loader(config, tokenizer)


def test_pictures_outside_a_table_count_for_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "MEMORY_BYTES", 1000)
    tokenizer = Tokenizer.train(["a text of a"], vocabulary_size=100)
    with pytest.raises(UsageError, match=r"only tars are streamed; .*rows\.csv OUT`"):
        pair_loader(data(folder / "rows.csv", "auto"), tokenizer)
    assert pair_loader(data(folder / "rows.csv", "never"), tokenizer).num_examples == 6


def test_a_tokenizer_is_learnt_from_the_texts_of_a_table(folder: Path) -> None:
    config = TokenizerConfig(source=None, texts=(str(folder / "rows.csv"),), vocabulary_size=100)
    learnt = make_tokenizer(config, folder / "tokenizer")
    assert "another" in learnt.backend.get_vocab()


def data(place: Path, stream: str) -> DataConfig:
    return DataConfig(
        sources=(SourceConfig(name="s", shards=(str(place),)),),
        batch_size=2,
        image=ImageConfig(size=16),
        stream=stream,
    )


@pytest.mark.parametrize("form", ["rows.csv", "pictures"])
def test_batches_are_those_of_the_pack(folder: Path, form: str) -> None:
    pack_collection(Collection(source=str(folder / form)), folder / "shards")
    tokenizer = Tokenizer.train(["a text of another a b c"] * 3, vocabulary_size=100)
    direct, packed = (
        islice(pair_loader(data(place, "auto"), tokenizer).batches(0), 4)
        for place in (folder / form, folder / "shards")
    )
    for batch, expected in zip(direct, packed, strict=True):
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.texts.ids, expected.texts.ids)
        assert torch.equal(batch.image_ids, expected.image_ids)
        assert batch.keys == expected.keys


def test_small_tables_are_not_streamed(folder: Path) -> None:
    assert not is_streamed(data(folder / "rows.csv", "auto"))
    assert not is_streamed(data(folder / "pictures", "auto"))


@pytest.mark.parametrize("form", FORMS[:5])
def test_other_samples_in_equal_numbers_are_another_order(folder: Path, form: str) -> None:
    """By it a run tells whether it may resume: not by numbers of samples alone."""
    tokenizer = Tokenizer.train(["a text of another a b c"] * 3, vocabulary_size=100)

    def order(place: Path) -> str:
        return pair_loader(data(place, "auto"), tokenizer).order

    before = order(folder / form)
    moved = folder / "elsewhere"
    shutil.copytree(folder, moved)
    assert order(moved / form) == before
    changed = moved / ("pictures/a.txt" if form == "pictures" else form)
    changed.write_text(changed.read_text().replace("another of a", "quite another of a"))
    assert order(moved / form) != before
