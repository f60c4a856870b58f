"""Token ids and decoded texts against transformers' two BERT tokenizers, on real and odd texts."""

import unicodedata
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models
from transformers import BertTokenizer
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from blip.data.captions import clean_caption
from blip.data.tokenizer import Tokenizer
from blip.errors import UsageError
from tests.support.vectors import FOLDER

SHARED = FOLDER.parent
VOCABULARY = SHARED / "bert-base-uncased" / "vocab.txt"

pytestmark = pytest.mark.skipif(
    not VOCABULARY.is_file(), reason=f"BERT's vocabulary is not at {VOCABULARY} (set BLIP_SHARED)"
)

MOVED = "\u166d\u1734"
"""Their Unicode category changed after the library's tables were made."""

ODD = [
    "",
    " ",
    "A Man's hat, isn't it? Yes! They've 3.5 of 'em; we're #1 (ok): \"quoted\" ~ 50% @home a*b",
    "naïve café Ångström über Ñandú žluťoučký kůň ĳ ﬁne ½ ① Ⅳ",
    "İstanbul ẞ ß \u017f ŉ ǅ",
    "一只狗在沙滩上跑 犬が走る 빨간 원이 있다 𠀀𠀁",
    "a 🐕 on the 🏖️ with 👨‍👩‍👧 and 🇰🇷",
    "tab\there\nline\r\nend\u00a0nbsp\u2003em\u2028line\u2029paragraph\u3000wide",
    "bell\x07 null\x00 replacement\ufffd zero\u200bwidth bom\ufeff soft\u00adhyphen",
    "vertical\x0btab next\x85line unit\x1fend",
    "unaffable " + "a" * 100 + " " + "b" * 101 + " " + "é" * 100 + " " + "é" * 101,
    "[CLS] a [SEP] [MASK] b [PAD][UNK] [DEC]c [ENC] [sep]",
    "e\u0301 (decomposed) \u0301alone a\u0300\u0301\u0302",
    "don't##ing ##s _under_score_ a-b \u2013 — … \u2018quotes\u2019 “double” `tick`",
    "^ | \\ / < > $ € + = § ° ÷",
    "Ω א ع ก ა ހ आ",
]


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    return Tokenizer.load(VOCABULARY)


@pytest.fixture(scope="module")
def fast() -> BertTokenizer:
    return _with_starts(BertTokenizer(str(VOCABULARY)))


@pytest.fixture(scope="module")
def slow() -> BertTokenizerLegacy:
    return _with_starts(BertTokenizerLegacy(str(VOCABULARY)))


def _with_starts(tokenizer):
    """As the original sets its tokenizer up."""
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return tokenizer


@pytest.fixture(scope="module")
def captions() -> list[str]:
    files = sorted((SHARED / "flickr8k").glob("*.parquet"))
    if not files:
        pytest.skip(f"no Flickr8k at {SHARED / 'flickr8k'}")
    rows = [row for file in files for row in pq.read_table(file, columns=["caption"]).to_pylist()]
    return [caption for row in rows for caption in row["caption"]]


def rows_of(tokenizer: Tokenizer, texts: list[str], max_tokens: int = 512) -> list[list[int]]:
    ids, visible = tokenizer.encode(texts, max_tokens)
    return [row[seen].tolist() for row, seen in zip(ids, visible, strict=True)]


def test_start_tokens_have_the_released_ids(ours, fast, slow) -> None:
    assert (ours.dec_id, ours.enc_id, ours.vocabulary_size) == (30522, 30523, 30524)
    assert (ours.pad_id, ours.unk_id, ours.cls_id, ours.sep_id, ours.mask_id) == (
        0,
        100,
        101,
        102,
        103,
    )
    for tokenizer in (fast, slow):
        assert tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [ours.dec_id, ours.enc_id]
        assert len(tokenizer) == ours.vocabulary_size


@pytest.mark.parametrize("max_tokens", [30, 35, 40])
def test_all_captions_of_flickr8k(ours, fast, captions, max_tokens) -> None:
    # The longest have fewer than 45 tokens: prompts and twice the text make them need cutting.
    texts = captions if max_tokens == 30 else [f"a picture of {c} {c}" for c in captions[::9]]
    expected = fast(texts, truncation=True, max_length=max_tokens).input_ids
    assert max(map(len, expected)) == max_tokens
    assert rows_of(ours, texts, max_tokens) == expected


def test_captions_of_flickr8k_by_the_older_tokenizer(ours, slow, captions) -> None:
    texts = [clean_caption(caption) for caption in captions[::20]]
    expected = slow(texts, truncation=True, max_length=30).input_ids
    assert rows_of(ours, texts, 30) == expected


def test_padding_to_the_longest_allowed(ours, fast) -> None:
    texts = ["a dog", "a man in a red shirt"]
    expected = fast(texts, padding="max_length", truncation=True, max_length=35)
    ids, visible = ours.encode(texts, 35, padding="max")
    assert ids.tolist() == expected.input_ids
    assert visible.int().tolist() == expected.attention_mask


@pytest.mark.parametrize("text", ODD)
def test_odd_texts(ours, fast, slow, text) -> None:
    row = rows_of(ours, [text])[0]
    assert row == fast(text).input_ids
    assert row == slow(text).input_ids


def test_words_over_a_hundred_letters_are_unknown(ours) -> None:
    (row,) = rows_of(ours, ["x" * 101 + " dog " + "x" * 100])
    assert row[1] == ours.unk_id
    assert row[2] == 3899
    assert ours.unk_id not in row[2:]


@given(text=st.text(max_size=80), max_tokens=st.sampled_from([3, 30, 512]))
@settings(max_examples=400)
def test_any_text(ours, fast, text, max_tokens) -> None:
    expected = fast(text, truncation=True, max_length=max_tokens).input_ids
    assert rows_of(ours, [text], max_tokens) == [expected]


# The older tokenizer goes by Python's Unicode tables, the library by its own, which are some
# versions behind: they agree on what was assigned in 3.2 and has stayed as it was.
SETTLED = st.characters(exclude_categories=["Cs"], exclude_characters=MOVED).filter(
    lambda c: unicodedata.ucd_3_2_0.category(c) == unicodedata.category(c) != "Cn"
)


@given(text=st.text(SETTLED, max_size=60))
@example(text="ΟΔΟΣ ΣΑΣ")
@settings(max_examples=300)
def test_any_cleaned_text_by_the_older_tokenizer(ours, slow, text) -> None:
    # Python's lower case, which looks at neighbouring letters, comes first in the original, too.
    text = clean_caption(text)
    assert rows_of(ours, [text]) == [slow(text).input_ids]


def test_prompts_are_what_the_original_feeds(ours, slow) -> None:
    ids = slow("a picture of ").input_ids
    assert ours.encode_prompt("a picture of ") == [ours.dec_id, *ids[1:-1]]


def decoded(tokenizer, ids: list[int]) -> str:
    """As the original decodes; tidying was the default of the transformers it was written for."""
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=True)


def test_decoding_captions_of_flickr8k(ours, fast, slow, captions) -> None:
    quoted = [caption for caption in captions if "'" in caption or '"' in caption]
    assert len(quoted) > 400
    for number, caption in enumerate(quoted[::2] + captions[::20]):
        ids = rows_of(ours, [caption])[0]
        text = ours.decode([ours.dec_id, *ids[1:], ours.pad_id, ours.pad_id])
        assert text == decoded(fast, ids)
        if number % 4 == 0:
            assert text == decoded(slow, ids)


@given(ids=st.lists(st.integers(0, 30523), max_size=20))
@example(ids=[1005, 1005, 1055, 1056, 1012, 1029, 999, 1010, 2310, 1005, 2310, 1005, 1049])
@example(ids=[22868, 2075, 100, 103, 30522, 30523])
def test_decoding_any_ids(ours, fast, slow, ids) -> None:
    assert ours.decode(ids) == decoded(slow, ids) == decoded(fast, ids)


def test_apostrophes_are_put_together(ours) -> None:
    ids = rows_of(ours, ["A man's hat, isn't it? I'm 'here'."])[0]
    assert ours.decode(ids) == "a man's hat, isn't it? i'm'here '."


@pytest.mark.parametrize("starts", [False, True], ids=["plain", "with start tokens"])
def test_tokenizer_files_of_hugging_face_checkpoints(ours, captions, tmp_path, starts) -> None:
    theirs = BertTokenizer(str(VOCABULARY))
    if starts:
        _with_starts(theirs)
    theirs.backend_tokenizer.enable_padding(length=20, pad_id=0)
    theirs.backend_tokenizer.enable_truncation(7)
    theirs.save_pretrained(tmp_path)
    opened = Tokenizer.load(tmp_path)
    assert (opened.dec_id, opened.enc_id, opened.vocabulary_size) == (30522, 30523, 30524)
    texts = [*ODD, *captions[:200]]
    assert rows_of(opened, texts, 35) == rows_of(ours, texts, 35)
    for row in rows_of(opened, texts, 35):
        assert opened.decode(row) == ours.decode(row)
    again = tmp_path / "again"
    again.mkdir()
    opened.save(again)
    assert rows_of(Tokenizer.load(again), texts) == rows_of(ours, texts)
    assert BertTokenizer.from_pretrained(again)("a dog").input_ids == [101, 1037, 3899, 102]


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 10)


def _other_model(path: Path) -> None:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    Backend(models.BPE({token: n for n, token in enumerate(special)}, [])).save(str(path))


def _not_json(path: Path) -> None:
    path.write_text("<html>\nmoved\n</html>\n")


@pytest.mark.parametrize("spoil", [_half, _binary, _other_model, _not_json, Path.unlink])
def test_truncated_and_foreign_files_end_in_one_line(
    ours, tmp_path, spoil: Callable[[Path], None]
) -> None:
    ours.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    spoil(path)
    with pytest.raises(UsageError, match=r"tokenizer|holds neither") as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", bytes(range(256)), b"a\nb\nc\n", b"[PAD]\n[UNK]\n[CLS]"])
def test_a_file_that_is_not_a_vocabulary_ends_in_one_line(tmp_path, content) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"vocab\.txt is not a tokenizer") as caught:
        Tokenizer.load(path)
    assert len(str(caught.value).splitlines()) == 1


# The original's cleaning, as a reader of it would tell it.


def cleaned_by_the_facts(text: str, most: int = 50) -> str:
    """Lower case; eleven marks become blanks; two white spaces or more become one blank; line
    feeds at the end go, then blanks at both ends; of what blanks divide, the first `most` stay.
    """
    letters = [" " if letter in '.!"()*#:;~' else letter for letter in text.lower()]
    pieces = []
    for is_space, group in groupby(letters, key=str.isspace):
        run = list(group)
        pieces.append(" " if is_space and len(run) > 1 else "".join(run))
    joined = "".join(pieces)
    while joined.endswith("\n"):
        joined = joined[:-1]
    return " ".join(joined.strip(" ").split(" ")[:most])


def test_cleaning_captions_of_flickr8k(captions) -> None:
    for caption in captions:
        assert clean_caption(caption) == cleaned_by_the_facts(caption)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("A Dog .", "a dog"),
        ("Hello!World", "hello world"),
        ("(a) \"b\" *c* #d e:f;g~h", "a b c d e f g h"),
        ("kept: , ? ' - & / @ $ % [ ] { } _", "kept , ? ' - & / @ $ % [ ] { } _"),
        ("a . . . b", "a b"),
        ("3.5 m", "3 5 m"),
        ("two  blanks\t\ttabs \n lines", "two blanks tabs lines"),
        ("one\ttab one\nline", "one\ttab one\nline"),
        ("the end\n\n", "the end"),
        ("ÀÉ İ ΟΔΟΣ", "àé i̇ οδος"),
        ("...", ""),
        ("", ""),
        ("\t", ""),
        (" ".join(["w"] * 60), " ".join(["w"] * 50)),
        ("\t".join(["w"] * 60), "\t".join(["w"] * 60)),
    ],
)  # fmt: skip
def test_cleaning_by_examples(text, cleaned) -> None:
    assert clean_caption(text) == cleaned
    # White space other than blanks at the ends is the one liberty: no token comes of it.
    assert cleaned_by_the_facts(text).strip() == cleaned


@given(
    text=st.text(
        st.one_of(st.sampled_from(" \t\n\r\x0b\x0c\x1c\x85\xa0\u2028.!\"()*#:;~,'?aB"), SETTLED),
        max_size=60,
    ),
    most=st.sampled_from([3, 30, 50]),
)
@settings(max_examples=300)
def test_cleaned_texts_give_the_original_s_ids(ours, text, most) -> None:
    mine, theirs = clean_caption(text, most), cleaned_by_the_facts(text, most)
    assert rows_of(ours, [mine]) == rows_of(ours, [theirs])
