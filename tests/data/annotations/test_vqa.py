"""Files of questions: every published layout is read, and what is broken is named."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.data.annotations.vqa import holds_questions, read_questions
from blip.data.config import Collection
from blip.data.pack import pack_collection
from blip.data.questions import questions_of
from blip.data.readers import parquet
from blip.data.readers.open import open_place
from blip.data.readers.sources import find_sources, read_sources
from blip.data.sample import Sample
from blip.errors import UsageError
from tests.support.pictures import photo
from tests.support.vectors import FOLDER

SHARED = FOLDER.parent
QUESTIONS = "v2_OpenEnded_mscoco_val2014_questions.json"
ANNOTATIONS = "v2_mscoco_val2014_annotations.json"
ASKED = [
    {"question_id": 420, "image_id": 42, "question": "What colour is it?"},
    {"question_id": 421, "image_id": 42, "question": "How many?"},
    {"question_id": 70, "image_id": 7, "question": "Is it?"},
]


def answers(*texts: str) -> list[dict[str, Any]]:
    return [{"answer": text, "answer_id": n} for n, text in enumerate(texts, 1)]


ANSWERED = [
    {"question_id": 420, "answers": answers("red", "red", "Dark red"), "answer_type": "other"},
    {"question_id": 421, "answers": answers("2", "two"), "question_type": "how many"},
    {"question_id": 70, "answers": answers("yes")},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "val2014").mkdir()
    for number in (42, 7):
        (tmp_path / f"val2014/COCO_val2014_{number:012d}.jpg").write_bytes(photo(number))
    return tmp_path


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def official(folder: Path, asked: list[Any] = ASKED, answered: list[Any] = ANSWERED) -> Path:
    write(folder / ANNOTATIONS, {"annotations": answered, "data_subtype": "val2014"})
    return write(folder / QUESTIONS, {"questions": asked, "data_subtype": "val2014"})


def asked_of(sample: Sample) -> list[tuple[str, tuple[str, ...]]]:
    found, fault = questions_of(sample.meta)
    assert fault is None
    return [(question.text, question.answers) for question in found]


def test_the_official_pair_is_read_from_either_file(folder: Path) -> None:
    path = official(folder)
    first, second = read_questions(path)
    assert asked_of(first) == [
        ("What colour is it?", ("red", "red", "Dark red")),
        ("How many?", ("2", "two")),
    ]
    assert asked_of(second) == [("Is it?", ("yes",))]
    assert (first.image, second.image) == (photo(42), photo(7))
    question = questions_of(first.meta)[0][0]
    assert (question.question_id, question.answer_type) == (420, "other")
    again = list(read_questions(folder / ANNOTATIONS))
    assert [(one.image, asked_of(one)) for one in again] == [
        (one.image, asked_of(one)) for one in (first, second)
    ]
    reader = open_place(path)
    assert reader.count() == 2
    assert [one.key for one in reader.samples(1)] == [second.key]


def test_annotations_in_upper_case_are_found(folder: Path) -> None:
    questions = official(folder)
    (folder / ANNOTATIONS).rename(folder / ANNOTATIONS.upper())
    questions = questions.rename(folder / QUESTIONS.upper())
    sample = next(read_questions(questions))
    assert asked_of(sample)[0] == ("What colour is it?", ("red", "red", "Dark red"))


def test_without_annotations_questions_have_no_answers(folder: Path) -> None:
    path = official(folder)
    (folder / ANNOTATIONS).unlink()
    assert [asked_of(one)[0][1] for one in read_questions(path)] == [(), ()]


LAYOUTS = {
    "BLIP": [
        {
            "question_id": 420,
            "question": "What colour is it?",
            "answer": ["red", "red"],
            "image": "val2014/COCO_val2014_000000000042.jpg",
            "dataset": "vqa",
        }
    ],
    "VizWiz": [
        {
            "image": "COCO_val2014_000000000042.jpg",
            "question": "What colour is it?",
            "answers": [{"answer": "red", "answer_confidence": "yes"}] * 2,
            "answer_type": "other",
            "answerable": 1,
        }
    ],
    "A-OKVQA": [
        {
            "split": "val",
            "image_id": 42,
            "question_id": "22jbM6gDxdaMaunuzgrsBB",
            "question": "What colour is it?",
            "choices": ["red", "blue"],
            "correct_choice_idx": 0,
            "direct_answers": ["red", "red"],
        }
    ],
    "Visual Genome": [
        {"id": 42, "qas": [{"qa_id": 5, "question": "What colour is it?", "answer": "red"}]}
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_one_file(folder: Path, layout: str) -> None:
    path = write(folder / "questions.json", LAYOUTS[layout])
    assert holds_questions(path)
    (sample,) = read_questions(path)
    assert sample.image == photo(42)
    (question,), _ = questions_of(sample.meta)
    assert set(question.answers) == {"red"}
    expected = 0.2 if layout == "Visual Genome" else 1.0
    assert question.weigh_answers() == pytest.approx({"red": expected})


@pytest.mark.parametrize("name", ["lines.json", "lines.jsonl", "lines.NDJSON"])
def test_lines_are_read_as_a_list_is(folder: Path, name: str) -> None:
    rows: list[Any] = [
        {"image_id": 42, "question": "What?", "answer": "red", "split": "val", "question_id": 1},
        {"image_id": 7, "question": "Is it?", "answer": ["yes", "no"], "split": "test"},
        {"image_id": 42, "question": "How many?", "split": "val"},
    ]
    lines = [json.dumps(row) for row in rows]
    (folder / name).write_text("\n".join([*lines[:2], "", "[1]", "{", lines[2]]))
    samples = list(open_place(folder / name).samples())
    assert [asked_of(sample) for sample in samples if sample.error is None] == [
        [("What?", ("red",)), ("How many?", ())],
        [("Is it?", ("yes", "no"))],
    ]
    assert [sample.error for sample in samples if sample.error is not None] == [
        f"broken_question: entry {number} is no JSON object" for number in (2, 3)
    ]
    (chosen,) = read_questions(folder / name, split="test")
    assert asked_of(chosen) == [("Is it?", ("yes", "no"))]


def test_lines_with_captions_are_those_of_a_table(folder: Path) -> None:
    row = {"image": "val2014/COCO_val2014_000000000042.jpg", "caption": "a", "question": "What?"}
    (folder / "captions.jsonl").write_text(json.dumps(row))
    assert not holds_questions(folder / "captions.jsonl")
    (sample,) = open_place(folder / "captions.jsonl").samples()
    assert sample.texts == ("a",)
    caption = {"image": row["image"], "caption": "a"}
    question = {"image": row["image"], "question": "What?", "answer": "red"}
    mixed = folder / "mixed.jsonl"
    mixed.write_text("\n".join(json.dumps(one) for one in [question, *[caption] * 50]))
    assert not holds_questions(mixed)
    assert [sample.texts for sample in open_place(mixed).samples()] == [(), *[("a",)] * 50]
    # A list of several lines ends in one that could be a question alone.
    (folder / "list.json").write_text(f"[{json.dumps(row)},\n{json.dumps(row)}\n]")
    assert len(questions_of(next(read_questions(folder / "list.json")).meta)[0]) == 2


@pytest.mark.parametrize("name", ["list.json", "lines.jsonl"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(UsageError, match=f"cannot read .*{name}: No such file"):
        list(read_questions(path))
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(UsageError, match="is not UTF-16"):
        list(read_questions(path))
    assert not holds_questions(path)


def test_a_split_is_chosen_where_there_is_one(folder: Path) -> None:
    path = write(folder / "questions.json", LAYOUTS["A-OKVQA"])
    assert len(list(read_questions(path, split="val"))) == 1
    with pytest.raises(UsageError, match=r"--split train: .* has the splits val"):
        list(read_questions(path, split="train"))
    with pytest.raises(UsageError, match="have no splits"):
        list(read_questions(official(folder), split="train"))


def test_ok_vqa_is_found_by_its_names(folder: Path) -> None:
    write(folder / "mscoco_val2014_annotations.json", {"annotations": ANSWERED})
    path = write(folder / "OpenEnded_mscoco_val2014_questions.json", {"questions": ASKED})
    assert asked_of(next(read_questions(path)))[1] == ("How many?", ("2", "two"))


def test_a_table_with_its_pictures_beside_it(tmp_path: Path) -> None:
    rows = [
        {"question_id": n, "key": key, "question": f"{n}?", "answers": ["a", "b"]}
        for n, key in enumerate(["image6", "image7", "image6"])
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "dev.parquet")
    images = [{"key": f"image{n}", "image": photo(n)} for n in (6, 7)]
    pq.write_table(pa.Table.from_pylist(images), tmp_path / "dev_images.parquet")
    first, second = read_questions(tmp_path / "dev.parquet")
    assert [question for question, _ in asked_of(first)] == ["0?", "2?"]
    assert (first.image, second.image) == (photo(6), photo(7))
    assert find_sources([str(tmp_path)]) == [tmp_path / "dev.parquet"]


def test_a_table_that_holds_its_pictures(tmp_path: Path) -> None:
    rows = [{"id": 1, "image": photo(1), "question": "what?", "answer": "it"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "all.parquet")
    (sample,) = read_questions(tmp_path / "all.parquet")
    assert (sample.image, asked_of(sample)) == (photo(1), [("what?", ("it",))])


@pytest.mark.parametrize("as_record", [False, True])
def test_pictures_of_a_table_are_read_where_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_record: bool
) -> None:
    keys = ["a", "b", "a", None, None]
    pictures = [photo(1), photo(2), photo(1), photo(3), None]
    rows = [
        {
            "key": key,
            "image": {"bytes": picture, "path": None} if as_record else picture,
            "question": f"{number}?",
        }
        for number, (key, picture) in enumerate(zip(keys, pictures, strict=True))
    ]
    path = tmp_path / "all.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    read, read_group = list[tuple[int, bool]](), parquet.read_group

    def note(file: Any, group: int, length: int, batch: int, columns: list[str]) -> Any:
        read.append((group, "image" in columns))
        return read_group(file, group, length, batch, columns)

    monkeypatch.setattr(parquet, "read_group", note)
    place = open_place(path)
    place.check()
    assert place.count() == 4
    assert not any(with_pictures for _, with_pictures in read)
    samples = list(place.samples())
    assert [(one.key, one.image) for one in samples] == [
        *[("a", photo(1)), ("b", photo(2)), ("row-3", photo(3)), ("row-4", None)]
    ]
    assert [one.error for one in samples] == [None, None, None, "missing_image"]
    read.clear()
    ((number, sample),) = place.samples_at([2])
    assert (number, sample) == (2, samples[2])
    assert [group for group, with_pictures in read if with_pictures] == [1]
    assert list(place.samples(1, 3)) == samples[1:3]


def test_damaged_pictures_of_a_table_cost_their_own_samples_alone(tmp_path: Path) -> None:
    rows = [{"key": f"{n}", "image": photo(n), "question": f"{n}?"} for n in range(4)]
    path = tmp_path / "all.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2, use_dictionary=False)
    column = pq.read_metadata(path).row_group(0).column(1)
    content = bytearray(path.read_bytes())
    start = column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)
    place = open_place(path)
    samples = list(place.samples())
    assert place.count() == len(samples) == 4
    assert [one.key for one in samples] == ["0", "1", "2", "3"]
    assert [(one.error or "").partition(":")[0] for one in samples] == ["broken_row"] * 2 + [""] * 2
    assert [one.image for one in samples] == [None, None, photo(2), photo(3)]


def test_what_is_broken_is_named(folder: Path) -> None:
    asked = [
        *ASKED,
        {"question_id": 70, "image_id": 7, "question": "Again?"},
        {"question_id": 80, "image_id": 8, "question": "No picture?"},
        {"question_id": 90, "image_id": 7, "question": None},
        {"question_id": 91, "question": "Of what?"},
        "odd",
    ]
    answered = [
        *ANSWERED,
        {"question_id": 555, "answers": answers("lost")},
        {"question_id": 420, "answers": answers("green")},
        {"answers": answers("lost")},
        {"question_id": [1], "answers": answers("lost")},
        "odd",
    ]
    samples = list(read_questions(official(folder, asked, answered)))
    faults = {one.key: one.error for one in samples if one.error is not None}
    assert faults == {
        "question-70": "duplicate_question_id: 70",
        "8": "missing_image",
        "question-5": "broken_question: entry 5 has no text as its question",
        "question-91": "missing_image",
        "question-7": "broken_question: entry 7 is no JSON object",
        "question-8": "unknown_question_id: 555 is answered and not asked",
        "question-9": "duplicate_question_id: 420 is answered again by annotation 4",
        **{
            f"question-{number + 5}": f"broken_question: annotation {number} has no question_id"
            for number in (5, 6, 7)
        },
    }
    assert len(samples) == 2 + len(faults)
    assert asked_of(samples[0])[0][1] == ("red", "red", "Dark red")


def test_files_that_do_not_belong_together_are_refused(folder: Path) -> None:
    path = official(folder, answered=[{"question_id": 1, "answers": answers("a")}])
    with pytest.raises(UsageError, match=r"answers no question of .* of different years or splits"):
        list(read_questions(path))
    path.unlink()
    with pytest.raises(UsageError, match="put the file of their questions beside it"):
        list(read_questions(folder / ANNOTATIONS))
    captions = write(folder / "c.json", [{"image": "a.jpg", "caption": 'a "question" mark'}])
    assert not holds_questions(captions)
    with pytest.raises(UsageError, match="is not a file of questions"):
        list(read_questions(captions))


def test_empty_cells_of_pandas_cost_no_question(folder: Path) -> None:
    nan = float("nan")
    name = "val2014/COCO_val2014_000000000042.jpg"
    rows = [
        {"image": name, "image_id": nan, "question": "a?", "question_id": None, "answer": "red"},
        {"image": nan, "image_id": 42.0, "question": "b?", "question_id": nan, "answer": nan},
        {"image": None, "image_id": 7, "question": "c?", "question_id": 5.0, "answer": ["no", nan]},
        {"image_id": 7, "question": "d?", "weight": nan},
        {"image_id": 7, "question": "e?", "weight": -1},
        {"image_id": 7, "question": "f?", "weight": float("inf")},
    ]
    samples = list(read_questions(write(folder / "list.json", rows)))
    assert [asked_of(sample) for sample in samples[:3]] == [
        [("a?", ("red",))],
        [("b?", ())],
        [("c?", ("no",)), ("d?", ())],
    ]
    assert questions_of(samples[2].meta)[0][0].question_id == 5
    assert [sample.error for sample in samples] == [
        *(None, None, None),
        "broken_question: entry 4 has -1 as its weight, which is a number from 0",
        "broken_question: entry 5 has inf as its weight, which is a number from 0",
    ]


def test_rows_of_a_table_without_a_picture_share_none(folder: Path) -> None:
    image_ids = ["nan", "None", "<NA>", None, "nan", "42"]
    asked = {"question": [f"{number}?" for number in range(6)], "question_id": [*range(6)]}
    paths = {"image": pa.array(["nan", *[None] * 5]), "image_id": image_ids}
    for number, columns in enumerate(({"image_id": image_ids}, paths)):
        pq.write_table(pa.table({**asked, **columns}), folder / f"{number}.parquet")
        samples = list(read_questions(folder / f"{number}.parquet"))
        assert [sample.error for sample in samples] == [*["missing_image"] * 5, None]
        assert [sample.key for sample in samples[:5]] == [f"question-{n}" for n in range(5)]
        assert samples[5].image == photo(42)


def test_float_identifiers_meet_their_annotations(folder: Path) -> None:
    answered = [{**one, "question_id": float(one["question_id"])} for one in ANSWERED]
    samples = list(read_questions(official(folder, answered=answered)))
    assert asked_of(samples[0])[0] == ("What colour is it?", ("red", "red", "Dark red"))
    assert not any(sample.error for sample in samples)


def test_packed_questions_are_read_again(folder: Path) -> None:
    source = official(folder)
    packed = pack_collection(Collection(source=str(source)), folder / "out")
    assert (packed.samples, packed.left_out) == (2, {})
    places = find_sources([str(folder / "out")])
    again = [asked_of(sample) for _, sample in read_sources(places)]
    assert again == [asked_of(sample) for sample in read_questions(source)]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no samples at {SHARED} (set BLIP_SHARED)")
@pytest.mark.parametrize(
    ("name", "images", "questions"),
    [
        ("vqa/questions.parquet", 72, 456),
        (f"vqa/{QUESTIONS}", 72, 456),
        ("daquar/dev.parquet", 74, 672),
        ("daquar/dev_vqa_format_questions.json", 74, 672),
        ("vqa_rad/questions.parquet", 248, 1768),
    ],
)
def test_real_files(name: str, images: int, questions: int) -> None:
    samples = list(open_place(SHARED / name).samples())
    assert len(samples) == images
    assert not any(sample.error for sample in samples)
    asked = [question for sample in samples for question in questions_of(sample.meta)[0]]
    assert len(asked) == questions
    assert all(question.answers for question in asked)
