"""CSV, TSV and JSON lines: every sound row comes, and a broken one costs itself alone."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blip.data.readers.delimited import read_delimited, read_json_lines
from blip.data.readers.image_files import IMAGE_EXTENSIONS
from blip.errors import UsageError

NAMES = ["image", "caption"]
UNCLOSED = "broken_row: a quote is not closed"
CELLS = st.text(
    st.characters(exclude_categories=("Cs",)) | st.sampled_from('",\n\r \t;|'), max_size=12
)


def rows(path: Path, content: str | bytes) -> list[list[str | None] | str]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    names, found = read_delimited(path, lambda names: "image" in names)
    return [row.fault or [row.cells.get(name) for name in names] for row in found]


@given(table=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6))
def test_what_the_csv_module_writes_is_read_as_it_reads_it(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, ...]]
) -> None:
    assume(
        not any(
            f".{end}" in cell.lower() for row in table for cell in row for end in IMAGE_EXTENSIONS
        )
    )
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([["image", "b", "c"], *table])
    expected = [
        [*row] for row in list(csv.reader(io.StringIO(buffer.getvalue(), newline="")))[1:]
        if any(cell.strip() for cell in row) or len(row) > 1
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    assert rows(path, buffer.getvalue()) == expected


def test_a_quote_that_is_not_closed_costs_its_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    assert rows(path, 'image,caption\na.jpg,"one\nb.jpg,two\nc.jpg,three\n') == [
        UNCLOSED,
        ["b.jpg", "two"],
        ["c.jpg", "three"],
    ]
    # Another quote far below does not close it.
    found = rows(path, 'image,caption\na.jpg,"one\nb.jpg,two\nc.jpg,"three, four"\nd.jpg,five\n')
    assert found == [UNCLOSED, ["b.jpg", "two"], ["c.jpg", "three, four"], ["d.jpg", "five"]]
    found = rows(path, 'image,caption\na.jpg,"one\nb.jpg,two"\nc.jpg,three\n')
    assert found == [UNCLOSED, ["b.jpg", 'two"'], ["c.jpg", "three"]]
    assert rows(path, 'image,caption\na.jpg,two\nb.jpg,"one') == [["a.jpg", "two"], UNCLOSED]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('caption,image\n"1\n2",a.jpg\n"x",b.jpg\n', [["1\n2", "a.jpg"], ["x", "b.jpg"]]),
        ('caption,image\n"1, 2\n3 ""4""\n5",a.jpg\n', [['1, 2\n3 "4"\n5', "a.jpg"]]),
        ('key,image,caption\n"k\nl",a.jpg,x\n', [["k\nl", "a.jpg", "x"]]),
        ('w,caption,image\n"1\n2","3\n4",a.jpg\n', [["1\n2", "3\n4", "a.jpg"]]),
    ],
)
def test_a_picture_may_stand_behind_a_cell_of_several_lines(
    tmp_path: Path, content: str, expected: list[list[str]]
) -> None:
    assert rows(tmp_path / "t.csv", content) == expected


def test_a_quote_that_is_not_closed_before_the_picture_costs_its_row_alone(tmp_path: Path) -> None:
    found = rows(tmp_path / "t.csv", 'caption,image\n"one,a.jpg\n5",b.jpg\nx,c.jpg\n')
    assert found == [UNCLOSED, ['5"', "b.jpg"], ["x", "c.jpg"]]


def test_quoted_cells_hold_lines_quotes_and_blank_lines(tmp_path: Path) -> None:
    content = (
        'image,caption\na.jpg,"one\n\ntwo ""three"", four"\nb.jpg,5" nail\nc.jpg,"5"" nail" x\n'
    )
    assert rows(tmp_path / "t.csv", content) == [
        ["a.jpg", 'one\n\ntwo "three", four'],
        ["b.jpg", '5" nail'],
        ["c.jpg", '5" nail x'],
    ]


def test_too_many_cells_are_a_fault_and_too_few_are_missing(tmp_path: Path) -> None:
    content = "image,caption\na.jpg,one, two\nb.jpg\nc.jpg,three,, \n\n  \nd.jpg,four\n"
    for name, text in (("t.csv", content), ("t.tsv", content.replace(",", "\t"))):
        assert rows(tmp_path / name, text) == [
            "broken_row: 3 cells, and 2 columns",
            ["b.jpg", None],
            ["c.jpg", "three"],
            ["d.jpg", "four"],
        ]


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    content = 'image\tcaption\na.jpg\t"one\nb.jpg\ttwo "x"\n"c.jpg"\t3"\n'
    assert rows(tmp_path / "t.tsv", content) == [
        ["a.jpg", '"one'],
        ["b.jpg", 'two "x"'],
        ['"c.jpg"', '3"'],
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_as_spreadsheets_write_it(tmp_path: Path, delimiter: str, encoding: str) -> None:
    content = delimiter.join(NAMES) + f'\r\na.jpg{delimiter}"caf\u00e9, au lait"\r\n'
    assert rows(tmp_path / "t.csv", content.encode(encoding)) == [["a.jpg", "caf\u00e9, au lait"]]


@pytest.mark.parametrize("line", ["sep={}", '"sep={}"', "SEP={}"])
@pytest.mark.parametrize("mark", [";", ",", "\t", "|"])
def test_the_line_of_excel_above_a_header_says_what_separates(
    tmp_path: Path, line: str, mark: str
) -> None:
    content = f"{line.format(mark)}\r\n{mark.join(NAMES)}\r\na.jpg{mark}one\r\n"
    assert rows(tmp_path / "t.csv", content) == [["a.jpg", "one"]]
    with pytest.raises(UsageError, match="has no header"):
        rows(tmp_path / "t.csv", "sep=;\n")


@pytest.mark.parametrize("column", ["sep=3", "sep=a", "sep=_"])
def test_a_letter_or_a_digit_separates_nothing(tmp_path: Path, column: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{column}\none\n")
    names, found = read_delimited(path, lambda names: True)
    assert (names, [row.cells for row in found]) == ([column], [{column: "one"}])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no header"),
        (b"\n\n", "has no header"),
        ("image,caption\n".encode("utf-16")[2:], "NUL characters in its header; save it as UTF-8"),
        (b"\xff\xfei", "is not UTF-16"),
    ],
)
def test_what_has_no_header_is_reported(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rows(tmp_path / "t.csv", content)


def test_many_unclosed_quotes_are_read_in_one_pass_each(tmp_path: Path) -> None:
    content = "image,caption\n" + "".join(f'{n}.jpg,"x\n' for n in range(2000))
    assert rows(tmp_path / "t.csv", content) == [UNCLOSED] * 2000


def test_a_file_that_ends_within_a_character_is_read_up_to_there(tmp_path: Path) -> None:
    content = "image,caption\na.jpg,one\n".encode("utf-16") + b"x"
    assert rows(tmp_path / "t.csv", content) == [
        ["a.jpg", "one"],
        "broken_row: not UTF-16-LE from here on",
    ]
    (tmp_path / "t.jsonl").write_bytes('{"a": 1}\n'.encode("utf-16") + b"x")
    found = [row.fault for row in read_json_lines(tmp_path / "t.jsonl")]
    assert found == [None, "broken_row: not UTF-16-LE from here on"]


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    lines = ['{"a": 1}', "", "{", "[1]", "[" * 100_000, '{"b": "\\ud800"}']
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    found = [row.fault or row.cells for row in read_json_lines(path)]
    assert found == [
        {"a": 1},
        "broken_row: not JSON",
        "broken_row: not an object",
        "broken_row: not JSON",
        {"b": "\ud800"},
    ]
    assert json.dumps(found[-1])
