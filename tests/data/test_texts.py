"""Texts in every encoding and of every type: read, or counted under a name."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blip.config.strict import load_json
from blip.data.texts import open_text, sound_texts
from blip.errors import UsageError
from blip.files import is_utf8

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


@pytest.mark.parametrize(
    ("values", "texts", "fault"),
    [
        (["one", None, "three"], ("one", "three"), None),
        ([None], (), "missing_text"),
        ([], (), "missing_text"),
        ([math.nan], (), "missing_text"),
        ([""], ("",), None),
        ([5], (), "text_not_a_string"),
        ([True], (), "text_not_a_string"),
        ([{"raw": "one"}], (), "text_not_a_string"),
        ([["nested"]], (), "text_not_a_string"),
        (["one", 5, "two"], ("one", "two"), "text_not_a_string"),
        ([b"caf\xc3\xa9"], ("café",), None),
        ([b"caf\xe9"], (), "text_not_utf8"),
        (["a \ud800"], (), "text_not_utf8"),
        (["caf\udce9", 5], (), "text_not_utf8"),
        (["a\0b"], ("ab",), None),
        (["\ufeff a dog "], ("a dog",), None),
        ([b"\xef\xbb\xbfa dog"], ("a dog",), None),
        (["x" * ((1 << 20) + 1)], (), "text_too_long"),
    ],
)
def test_captions_of_a_cell(values: list, texts: tuple, fault: str | None) -> None:
    assert sound_texts(values) == (texts, fault)


@given(
    value=st.recursive(st.none() | st.floats() | st.text() | st.binary() | st.integers(), st.lists)
)
def test_what_is_sound_can_be_written(value: object) -> None:
    texts, fault = sound_texts([value])
    assert bool(texts) != bool(fault)
    assert all(text.encode().decode() == text and "\0" not in text for text in texts)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_byte_order_mark_says_the_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t"
    path.write_bytes("caf\u00e9\r\n\uae40\n".encode(encoding))
    with open_text(path) as file:
        assert list(file) == ["caf\u00e9\r\n", "\uae40\n"]
    path.write_bytes(json.dumps(["caf\u00e9"], ensure_ascii=False).encode(encoding))
    assert load_json(path) == ["caf\u00e9"]


def test_bytes_that_are_not_utf8_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"caf\xe9\nsound\n")
    with open_text(path) as file:
        assert [is_utf8(line) for line in file] == [False, True]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'["caf\xe9"]', r"is not UTF-8.* \(byte 5\); save it as UTF-8"),
        (b"{", "is not JSON"),
        (b'{"image": "a.jpg"}\n{"image": "b.jpg"}\n', "call a file of JSON lines .jsonl"),
        (b"", "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "is not JSON"),
        (b"\xff\xfea", "is not UTF-16"),
    ],
)
def test_json_that_cannot_be_read_is_reported_in_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UsageError, match=message) as error:
        load_json(tmp_path / "x.json")
    assert "\n" not in str(error.value)


def test_a_file_of_json_lines_is_not_told_to_be_called_so(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n{}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"Extra data.*\)$"):
        load_json(tmp_path / "x.jsonl")
