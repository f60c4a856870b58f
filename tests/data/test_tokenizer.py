"""WordPiece: learnt in any language, opened from any form, cut with its end kept."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blip.data.captions import clean_caption
from blip.data.tokenizer import Tokenizer
from blip.errors import UsageError

ENGLISH = ["a red circle to the left of a blue square", "two small stars on a grey background"] * 3
KOREAN = ["빨간 원이 파란 사각형 왼쪽에 있다", "회색 배경에 작은 별 두 개", "파란 별과 빨간 원"] * 3
BERT = Path(os.environ.get("BLIP_SHARED", "../shared")) / "bert-base-uncased" / "vocab.txt"


@pytest.mark.parametrize("texts", [ENGLISH, KOREAN])
def test_learnt_vocabularies_speak_their_language(texts: list[str]) -> None:
    tokenizer = Tokenizer.train(texts, vocabulary_size=200)
    assert tokenizer.pad_id == 0
    assert tokenizer.enc_id == tokenizer.vocabulary_size - 1
    assert tokenizer.dec_id == tokenizer.vocabulary_size - 2
    encoded = tokenizer.encode(texts[:2], max_tokens=40)
    assert (encoded.ids != tokenizer.unk_id).all()
    for row, text in zip(encoded.ids.tolist(), texts, strict=False):
        assert tokenizer.decode(row) == text


def test_the_same_texts_give_the_same_vocabulary(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Tokenizer.train(KOREAN, vocabulary_size=90).save(tmp_path / name)
        files.append((tmp_path / name / "tokenizer.json").read_bytes())
    assert files[0] == files[1]
    opened = Tokenizer.load(tmp_path / "a")
    assert opened.encode(KOREAN[:1], 30).ids.tolist() == (
        Tokenizer.load(tmp_path / "b" / "tokenizer.json").encode(KOREAN[:1], 30).ids.tolist()
    )


def test_a_name_in_upper_case_is_read_as_what_it_says(tmp_path: Path) -> None:
    trained = Tokenizer.train(KOREAN, vocabulary_size=90)
    trained.save(tmp_path)
    path = (tmp_path / "tokenizer.json").rename(tmp_path / "TOKENIZER.JSON")
    assert Tokenizer.load(path).vocabulary_size == trained.vocabulary_size


@given(text=st.text(max_size=60), max_tokens=st.integers(3, 20))
def test_rows_start_end_and_fit(text: str, max_tokens: int) -> None:
    tokenizer = _english()
    ids, visible = tokenizer.encode([text, "a red circle"], max_tokens)
    assert ids.shape[1] <= max_tokens
    for row, seen in zip(ids, visible, strict=True):
        real = row[seen].tolist()
        assert real[0] == tokenizer.cls_id
        assert real[-1] == tokenizer.sep_id
        assert (row[~seen] == tokenizer.pad_id).all()


_CACHE: list[Tokenizer] = []


def _english() -> Tokenizer:
    if not _CACHE:
        _CACHE.append(Tokenizer.train(ENGLISH, vocabulary_size=200))
    return _CACHE[0]


def test_start_tokens_and_prompts() -> None:
    tokenizer = _english()
    texts = tokenizer.encode(["a red circle"], 30)
    decoding = texts.start_with(tokenizer.dec_id)
    assert decoding.ids[0, 0] == tokenizer.dec_id
    assert texts.ids[0, 0] == tokenizer.cls_id
    assert tokenizer.encode_prompt("a red") == [tokenizer.dec_id, *texts.ids[0, 1:3].tolist()]
    assert tokenizer.encode(["a"], 9, padding="max").ids.shape == (1, 9)


@pytest.mark.skipif(not BERT.is_file(), reason=f"BERT's vocabulary is not at {BERT}")
def test_the_released_vocabulary_has_its_published_ids() -> None:
    tokenizer = Tokenizer.load(BERT)
    assert tokenizer.vocabulary_size == 30524
    assert (tokenizer.dec_id, tokenizer.enc_id) == (30522, 30523)
    ids = tokenizer.encode(["a picture of a dog, unaffable"], 30).ids[0].tolist()
    assert ids == [101, 1037, 3861, 1997, 1037, 3899, 1010, 14477, 20961, 3468, 102]


def test_a_file_that_is_not_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tokenizer at"):
        Tokenizer.load(tmp_path / "none")
    with pytest.raises(UsageError, match="holds neither"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageError, match="is not a tokenizer"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(UsageError, match=r"vocab\.txt is not a .* the vocabulary has no \[PAD\]"):
        Tokenizer.load(tmp_path / "vocab.txt")
    with pytest.raises(UsageError, match="no tokenizer at a/b/c: no such file or folder"):
        Tokenizer.load("hf:a/b/c")


def test_a_word_list_is_read_by_the_line(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "\x85", "\u2028", "two"]
    path = tmp_path / "vocab.txt"
    # Windows puts a byte order mark before it.
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text("\n".join(words) + "\n", encoding=encoding)
        tokenizer = Tokenizer.load(path)
        assert tokenizer.encode(["one two"], 9).ids.tolist() == [[2, 5, 8, 3]]
        assert (tokenizer.dec_id, tokenizer.enc_id) == (9, 10)


def test_decoded_texts_are_put_together_and_hold_no_special_token() -> None:
    texts = ["a man ' s hat , isn ' t it ? i ' m ! they ' ve 3 . 5 ' re"]
    tokenizer = Tokenizer.train(texts, vocabulary_size=100)
    (row,) = tokenizer.encode(texts, 40).ids.tolist()
    row[2:2] = [tokenizer.unk_id, tokenizer.mask_id, tokenizer.dec_id, tokenizer.enc_id]
    assert tokenizer.decode(row) == "a man's hat, isn't it? i'm! they've 3. 5're"


def test_captions_are_cleaned_as_published() -> None:
    assert clean_caption('A dog; (running): on "the" beach!!  #sun ~\n') == (
        "a dog running on the beach sun"
    )
    assert clean_caption("word " * 80) == " ".join(["word"] * 50)
    assert clean_caption(" .!? ") == "?"
    assert clean_caption("...") == ""
