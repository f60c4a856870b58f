"""Files of questions about images: VQA v2's official pair, one-file lists, tables, Visual Genome's.

The lists of BLIP's release, of A-OKVQA and of VizWiz are read alike; OK-VQA's files are VQA v2's.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from blip.config.strict import load_json
from blip.data.annotations.entries import find_entry_fault
from blip.data.annotations.head import HEAD, head_names
from blip.data.annotations.own_pictures import find_picture_column, read_own_pictures
from blip.data.annotations.pictures import Pictures, open_pictures
from blip.data.keys import key_text, storable, with_safe_keys
from blip.data.questions import (
    BROKEN_QUESTION,
    QUESTIONS,
    AskedQuestion,
    find_question_fault,
    find_question_id,
    read_question,
)
from blip.data.readers.chosen import choose, read_alone
from blip.data.readers.delimited import read_json_line, read_json_lines
from blip.data.readers.folders import extension_of
from blip.data.readers.parquet import open_described, read_parquet
from blip.data.readers.patterns import named_in
from blip.data.readers.tables import FIRST, find_columns
from blip.data.sample import IMAGE_KEY, Sample
from blip.data.texts import first_given, list_names, open_text, without_point
from blip.errors import UsageError
from blip.files import is_json_lines

FORMS = (
    'VQA v2\'s {"questions": [{"question_id", "image_id", "question"}]} with its file of '
    'annotations beside it, a list or lines of {"image", "question", "answer"}, Visual Genome\'s '
    '[{"id", "qas": [...]}]'
)
VISUAL_GENOME_WEIGHT = 0.2
"""What the original release lets the one answer of Visual Genome weigh."""
DUPLICATE = "duplicate_question_id"
_IN_NAMES = re.compile(r"openended|multiplechoice|questions|annotations|[^a-z0-9]+")


@dataclass(slots=True)
class AskedImage:
    """An image of an annotation file with its questions, or an entry that cannot be used."""

    name: str | int | None
    questions: list[AskedQuestion] = field(default_factory=list)
    row: int | None = None
    """Where its picture stands, if the file is a table with pictures."""
    key: str = ""
    """What the entry is called where it cannot be used."""
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A question of a file, or what is wrong with it."""

    image: str | int | None
    question: AskedQuestion | None
    fault: str | None = None
    row: int | None = None


def holds_questions(path: Path) -> bool:
    """Whether a JSON file or a Parquet table asks questions, so that `read_questions` reads it."""
    if path.suffix.lower() == ".parquet":
        try:
            return "question" in open_described(path).schema_arrow.names
        except UsageError:
            return False
    if not head_names(path, ("question", "questions", "question_id", "qas")):
        return False
    try:
        return _has_lines(path) or (not is_json_lines(path) and _form(load_json(path)) is not None)
    except UsageError:
        return False


def read_questions(
    path: Path,
    images: Path | None = None,
    split: str | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Sample]:
    """A sample for each image of a file of questions, in the order of their first questions.

    Its questions with their answers stand in `meta` (`data/questions.py`). `images` is the folder
    or the Parquet table of the pictures (`open_pictures`); `split` chooses among entries that have
    one. Of the samples `start` to `stop` alone, where given. A question that is broken, or whose
    identifier came before, is a sample with `error`, and so is an image without its picture. Raises
    UsageError for a file in another form, and if questions and annotations do not belong
    together.
    """
    chosen = list_asked(path, split)[start:stop]
    make = _Maker.of(path, images, chosen)
    yield from with_safe_keys(make.samples(chosen), "image", start)


def read_questions_at(
    path: Path, images: Path | None, split: str | None, numbers: Collection[int]
) -> Iterator[tuple[int, Sample]]:
    """Some samples with their numbers, each as `read_questions` reads it alone."""
    chosen = list(choose(enumerate(list_asked(path, split)), numbers))
    make = _Maker.of(path, images, [image for _, image in chosen])
    return read_alone(chosen, make.samples, "image")


def list_asked(path: Path, split: str | None = None) -> list[AskedImage]:
    """What a file asks of each image; raises as `read_questions` does.

    Of a table that holds pictures these are not read.
    """
    entries = _parquet(path, split) if path.suffix.lower() == ".parquet" else _json(path, split)
    images: list[AskedImage] = []
    of_name: dict[str | int, AskedImage] = {}
    known: set[str | int] = set()
    for number, entry in enumerate(entries):
        question = entry.question
        question_id = None if question is None else question.question_id
        fault = find_entry_fault(
            question_id, known, entry.fault, shown=entry.image is not None, duplicate=DUPLICATE
        )
        if question is None or entry.image is None or fault is not None:
            key = f"question-{number if question_id is None else question_id}"
            images.append(AskedImage(None, key=key, fault=fault))
            continue
        image = of_name.get(entry.image)
        if image is None:
            image = of_name[entry.image] = AskedImage(entry.image, row=entry.row)
            images.append(image)
        image.questions.append(question)
    return images


class _Maker(NamedTuple):
    """Makes the samples of a file."""

    place: str
    """The file's name, in front of the names of its images."""
    pictures: Pictures
    own: Iterator[tuple[bytes | None, str | None]]
    """The pictures in the file's own rows, in the order in which they are asked for."""

    @classmethod
    def of(cls, path: Path, images: Path | None, chosen: Iterable[AskedImage]) -> "_Maker":
        rows = [image.row for image in chosen if image.row is not None]
        return cls(path.stem, open_pictures(path, images), read_own_pictures(path, rows))

    def samples(self, chosen: Iterable[AskedImage]) -> Iterator[Sample]:
        for image in chosen:
            if image.name is None:
                yield Sample(image.key, None, error=image.fault)
                continue
            content, extension, fault = self._read(image.name, image.row)
            name = storable(str(image.name))
            questions = [question.to_json() for question in image.questions]
            meta = {"image": name, IMAGE_KEY: f"{self.place}/{name}", QUESTIONS: questions}
            yield Sample(name, content, (), meta, fault, extension)

    def _read(self, name: str | int, row: int | None) -> tuple[bytes | None, str, str | None]:
        """A picture, its extension, and why there is none."""
        content, fault = (None, None) if row is None else next(self.own, (None, None))
        if content is not None or fault is not None:
            return content, extension_of(content or b""), fault
        content, extension = self.pictures.read(name)
        return content, extension, "missing_image" if content is None else None


def _form(data: Any) -> str | None:
    """Which of the `FORMS` a JSON value has; None for another one."""
    if isinstance(data, dict):
        first = _first(data.get("questions"))
        if "question" in first and "image_id" in first:
            return "questions"
        return "annotations" if "question_id" in _first(data.get("annotations")) else None
    first = _first(data)
    if isinstance(first.get("qas"), list):
        return "visual genome"
    return "list" if "question" in first and ("image" in first or "image_id" in first) else None


def _first(entries: Any) -> dict[str, Any]:
    first = entries[0] if isinstance(entries, list) and entries else None
    return first if isinstance(first, dict) else {}


def _has_lines(path: Path) -> bool:
    """Whether a file has a question in each line: one of JSON lines, or the first line of others.

    If any of the first lines has a caption, they are those of a table of captions. False for a file
    that cannot be read: `load_json` says why.
    """
    try:
        with open_text(path) as file:
            lines = [file.readline(HEAD) for _ in range(FIRST if is_json_lines(path) else 1)]
    except (OSError, UnicodeDecodeError):
        return False
    entries = [row.cells for row in map(read_json_line, lines) if row.fault is None]
    names = dict.fromkeys(name for entry in entries for name in entry)
    asked = any(_form([entry]) == "list" for entry in entries)
    return asked and find_columns(list(names)).text is None


def _json(path: Path, split: str | None) -> Iterable[_Entry]:
    if _has_lines(path):
        # A broken line is no object, and named as such an entry of a list is.
        data = [row.cells if row.fault is None else None for row in read_json_lines(path)]
        return _listed(_of_split(data, split, path))
    data = load_json(path)
    match _form(data):
        case "questions":
            _refuse_split(split, path)
            return _official(data, _beside(path, "annotations"), path)
        case "annotations":
            _refuse_split(split, path)
            questions = _beside(path, "questions")
            if questions is None:
                raise UsageError(
                    f"{path} holds answers alone: put the file of their questions beside it, under "
                    'the same name with "questions" in the place of "annotations"'
                )
            return _official(load_json(questions), path, questions)
        case "list":
            return _listed(_of_split(data, split, path))
        case "visual genome":
            _refuse_split(split, path)
            return _visual_genome(data)
        case _:
            raise UsageError(f"{path} is not a file of questions that can be read: {FORMS}")


def _refuse_split(split: str | None, path: Path) -> None:
    if split is not None:
        raise UsageError(f"--split {split}: the questions of {path} have no splits")


def _of_split(entries: list[Any], split: str | None, path: Path) -> list[Any]:
    if split is None:
        return entries
    names = [entry.get("split") if isinstance(entry, dict) else None for entry in entries]
    if split not in names:
        there = list_names(sorted({name for name in names if isinstance(name, str)})) or "none"
        raise UsageError(f"--split {split}: {path} has the splits {there}")
    return [entry for entry, name in zip(entries, names, strict=True) if name == split]


def _beside(path: Path, other: str) -> Path | None:
    """The file of the annotations to some questions, or of the questions to some annotations."""
    same = [
        file
        for file in named_in(path.parent, ".json")
        if other in file.name.lower() and _plain_name(file) == _plain_name(path)
    ]
    return same[0] if same else None


def _plain_name(path: Path) -> str:
    """A name without what tells VQA's questions from their annotations."""
    return _IN_NAMES.sub("", path.stem.lower())


def _official(data: Any, annotations: Path | None, path: Path) -> Iterator[_Entry]:
    """VQA's questions with the answers of the other file; without any, where there is none."""
    questions = data.get("questions") if isinstance(data, dict) else None
    if _form(data) != "questions" or not isinstance(questions, list):
        raise UsageError(f'{path} has no "questions" with "question" and "image_id"')
    if annotations is None:
        return (_entry(entry, number) for number, entry in enumerate(questions))
    found = load_json(annotations)
    if _form(found) != "annotations":
        raise UsageError(
            f'{annotations} has no "annotations" with "question_id", as the questions of {path} '
            "need them"
        )
    of_id, faults = _by_question(found["annotations"])
    if not of_id.keys() & set(map(_id_of, questions)):
        subsets = [str(one.get("data_subtype", "unnamed")) for one in (data, found)]
        raise UsageError(
            f"{annotations} ({subsets[1]}) answers no question of {path} ({subsets[0]}): they are "
            "of different years or splits"
        )
    return chain(_answered(questions, of_id), (_Entry(None, None, fault) for fault in faults))


def _by_question(
    annotations: list[Any],
) -> tuple[dict[int | str, dict[str, Any]], list[str]]:
    """The first annotation of each question, and what is wrong with the others."""
    of_id, faults = dict[int | str, dict[str, Any]](), list[str]()
    for number, entry in enumerate(annotations):
        question_id = _id_of(entry)
        if question_id is None:
            faults.append(f"{BROKEN_QUESTION}: annotation {number} has no question_id")
        elif of_id.setdefault(question_id, entry) is not entry:
            faults.append(f"{DUPLICATE}: {question_id} is answered again by annotation {number}")
    return of_id, faults


def _id_of(entry: Any) -> int | str | None:
    given = entry.get("question_id") if _is_dict(entry) else None
    sound = isinstance(given, int | float | str)
    return find_question_id({"question_id": given}) if sound else None


def _answered(questions: list[Any], of_id: dict[int | str, dict[str, Any]]) -> Iterator[_Entry]:
    known: set[int | str | None] = set()
    for number, entry in enumerate(questions):
        question_id = _id_of(entry)
        if question_id is None:
            yield _entry(entry, number)
            continue
        answered = {} if question_id in known else of_id.get(question_id, {})
        known.add(question_id)
        kept = {name: answered.get(name) for name in ("answers", "answer_type", "question_type")}
        yield _entry({**entry, **kept}, number)
    for question_id in of_id:
        if question_id not in known:
            fault = f"unknown_question_id: {question_id} is answered and not asked"
            yield _Entry(None, None, fault)


def _listed(entries: list[Any]) -> Iterator[_Entry]:
    for number, entry in enumerate(entries):
        from_genome = _is_dict(entry) and entry.get("dataset") == "vg"
        yield _entry(entry, number, VISUAL_GENOME_WEIGHT if from_genome else None)


def _visual_genome(images: list[Any]) -> Iterator[_Entry]:
    number = 0
    for image in images:
        pairs = image.get("qas") if _is_dict(image) else None
        for pair in pairs if isinstance(pairs, list) else [None]:
            given = {"image_id": image.get("id"), **pair} if _is_dict(pair) else pair
            yield _entry(given, number, VISUAL_GENOME_WEIGHT)
            number += 1


def _entry(entry: Any, number: int, weight: float | None = None) -> _Entry:
    if not _is_dict(entry):
        return _Entry(None, None, f"{BROKEN_QUESTION}: entry {number} is no JSON object")
    question = read_question(entry, number)
    if question is None:
        fault = f"{BROKEN_QUESTION}: entry {number} has {find_question_fault(entry)}"
        return _Entry(None, None, fault)
    if weight is not None:
        question = replace(question, weight=weight)
    name = without_point(first_given(entry, ("image", "image_id")))
    sound = isinstance(name, int) or (isinstance(name, str) and name.strip() and "\0" not in name)
    return _Entry(name if sound else None, question)


def _is_dict(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _parquet(path: Path, split: str | None) -> Iterator[_Entry]:
    """Rows with a question, its answers, and the key or path of a picture or the picture itself.

    Pictures are not read: they may be most of a large file.
    """
    schema = open_described(path).schema_arrow
    columns = find_columns(schema.names)
    if columns.key is None and columns.image is None:
        raise UsageError(f"{path} has questions, but no column for the key of their image")
    if split is not None and columns.split is None:
        raise UsageError(f"--split {split}: {path} has no column 'split'")
    pictures = find_picture_column(schema)
    wanted = [name for name in dict.fromkeys(schema.names) if name != pictures]
    for number, row in read_parquet(path, 0, None, columns=wanted):
        if row.fault is not None:
            yield _Entry(None, None, row.fault)
            continue
        if split is not None and row.cells.get(str(columns.split)) != split:
            continue
        name = key_text(row.cells.get(str(columns.key)))
        given = row.cells.get(str(columns.image))
        if key_text(given) is not None:
            name = given
        other = key_text(row.cells.get("image_id"))
        if pictures is not None and name is None and other is None:
            name = f"row-{number}"
        entry = _entry({**row.cells, "image": name, "image_id": other}, number)
        yield replace(entry, row=None if pictures is None else number)
