"""Whatever keys users have: what is written under them is found again by every reader."""

import math
from pathlib import Path
from uuid import UUID

import pytest
import webdataset
from hypothesis import example, given
from hypothesis import strategies as st

from blip.data.keys import KEY_LIMIT, check_key, key_text, safe_key, with_safe_keys
from blip.data.readers.shards import read_shard
from blip.data.sample import Sample
from blip.data.writers.shards import ShardWriter
from blip.errors import BlipError

KEYS = st.text(st.characters() | st.sampled_from("./\\ _-aAbB\0\n\udcff\ufeff"), max_size=30)
ODD = ["a.b", "a_b", "A_B", "", ".", "/", "..", "__x__/a", "__MACOSX/._a", "a/.b", "..png", ".jpg"]


@given(keys=st.lists(KEYS, max_size=12))
@example(keys=ODD)
@example(keys=["a", "A", "a", "a-row-000000003"])
@example(keys=["a-row-000000002", "a", "a"])
@example(keys=["e\u0301", "\u00e9", "ß", "SS"])
@example(keys=["k" * 300, "k" * 301, "원/" * 200])
def test_what_is_written_is_read_by_us_and_by_webdataset(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str]
) -> None:
    shard = tmp_path_factory.mktemp("keys") / "s.tar"
    texts = [f"text {number}" for number in range(len(keys))]
    given_samples = [Sample(key, b"x", (text,)) for key, text in zip(keys, texts, strict=True)]
    made = list(with_safe_keys(given_samples, "row"))
    with ShardWriter(shard) as writer:
        for sample in made:
            writer.write(sample.key, b"x", "jpg", sample.texts[0], {})
    ours = [(s.key, s.texts[0], s.error) for s in read_shard(shard)]
    assert ours == [(s.key, text, None) for s, text in zip(made, texts, strict=True)]
    if keys:
        rows = list(webdataset.WebDataset(str(shard), shardshuffle=False))
        theirs = [(row["__key__"], row["txt"].decode()) for row in rows]
        assert theirs == [(s.key, text) for s, text in zip(made, texts, strict=True)]
    assert len({sample.key.casefold() for sample in made}) == len(keys)
    # The library datasets passes over files whose names begin so.
    assert not any(sample.key.rpartition("/")[2].startswith((".", "__")) for sample in made)
    assert all(len(sample.key.encode()) <= KEY_LIMIT for sample in made)


@given(raw=KEYS)
def test_a_safe_key_stays_as_it_is(raw: str) -> None:
    key = safe_key(raw)
    assert safe_key(key) == key
    if key:
        check_key(key)


def test_keys_as_people_write_them() -> None:
    expected = {
        "cam1.2023.png": "cam1_2023",
        "a/b c.JPEG": "a/b_c",
        "my photo": "my_photo",
        "tab\tand\nline\0": "tab_and_line_",
        "https://example.org/a.jpg": "https:/example_org/a",
        "C:\\photos\\a.jpg": "C:_photos_a",
        "../a": "_/a",
        "__x__/a": "_x__/a",
        "/none/a": "none/a",
        "plain-key_7": "plain-key_7",
        "빨간/원": "빨간/원",
        ".jpg": "_jpg",
    }
    assert {raw: safe_key(raw) for raw in expected} == expected


@pytest.mark.parametrize(
    "key", ["a.b", "", "a b", "a\n", "\ud800", "a//b", "/a", "a/", "__x", ".a"]
)
def test_the_writer_refuses_other_keys(tmp_path: Path, key: str) -> None:
    with pytest.raises(BlipError, match="cannot write a sample under the key"):
        check_key(key)
    with pytest.raises(BlipError, match="key"), ShardWriter(tmp_path / "s.tar") as writer:
        writer.write(key, b"x", "jpg", "text", {})
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BlipError, match="longer than 240 bytes"):
        check_key("k" * 241)
    check_key("k" * 240)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (17.0, "17"),
        (1e20, "100000000000000000000"),
        ("17.0", "17"),
        ("-3.00", "-3"),
        (17.5, "17.5"),
        (17, "17"),
        (" a ", "a"),
        (b"a\xff", "a\\xff"),
        ("\ud800", "\\ud800"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        *(
            (missing, None)
            for missing in (None, math.nan, math.inf, "", "  ", "NaN", "None", "<NA>")
        ),
        *((missing, None) for missing in ("null", [], [1], {}, {"a": 1})),
    ],
)
def test_the_key_in_a_cell(value: object, expected: str | None) -> None:
    assert key_text(value) == expected


def test_what_was_changed_stays_known_where_it_is_asked_for() -> None:
    samples = [Sample("a", b"x"), Sample("a.b", b"x", meta={"n": 1}), Sample("A", b"x")]
    found = [(s.key, s.meta) for s in with_safe_keys(samples, "row", 5, keep_raw=True)]
    assert found == [
        ("a", {}),
        ("a_b", {"key": "a.b", "n": 1}),
        ("A-row-000000007", {"key": "A"}),
    ]
    plain = [(s.key, s.meta) for s in with_safe_keys(samples, "picture")]
    assert plain[1:] == [("a_b", {"n": 1}), ("A-picture-000000002", {})]


def test_samples_that_are_never_written_keep_the_name_in_their_tar() -> None:
    samples = [Sample("../x.y", None, error="unsafe_name"), Sample("", None, error="torn_tar: end")]
    assert list(with_safe_keys(samples, "sample")) == samples
