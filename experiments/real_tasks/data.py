"""The real data sets as shards: what is trained with, what is held out, and what belongs together.

Nothing of them is kept in the project; they lie in the folder that BLIP_SHARED names.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from blip.data.questions import QUESTIONS, questions_of
from blip.data.sample import Sample
from blip.data.statements import PairStatement
from blip.data.writers.shards import write_shards
from blip.errors import UsageError
from blip.files import atomic_folder
from experiments.blind import read_all
from experiments.guesses import list_questions, list_statements

HELD_OUT = 10
"""Of the groups of NLVR's statements, those whose first number is a multiple are held out."""
ANSWERS = "answers.txt"


def write_daquar(source: Path, out: Path) -> None:
    """Training and dev questions, each with one answer, and the list of answers to choose from.

    Several things that are asked for are one answer, "table, chair", right as a whole or wrong.
    """
    for name, table in (("training", "train"), ("test", "dev")):
        _write(out / name, lambda table=table: map(_join_answers, _read(source, table)))
    answers = {one.answers[0] for one in list_questions(read_all(out / "training"))}
    (out / ANSWERS).write_text("\n".join(sorted(answers)) + "\n", encoding="utf-8")


def write_nlvr1(source: Path, out: Path) -> None:
    """Statements to train with; held out are the groups of dev, and about a tenth of the others.

    A group, of `group_numbers`, is whole on one side.
    """
    if (out / "training").is_dir() and (out / "test").is_dir():
        return
    train, dev = _read(source, "train"), _read(source, "dev")
    groups = group_numbers([*train, *dev])
    of_dev = {groups[number] for number in map(number_of, list_statements(dev))}

    def is_held_out(sample: Sample) -> bool:
        group = groups[_numbers_of(sample)[0]]
        return group in of_dev or int(group.split("-")[1]) % HELD_OUT == 0

    _write(out / "training", lambda: (one for one in train if not is_held_out(one)))
    _write(out / "test", lambda: [*filter(is_held_out, train), *dev])


def number_of(statement: PairStatement) -> str:
    """What a statement shares with itself about rearranged boxes: split and first number."""
    return "-".join(statement.identifier.split("-")[:2])


def group_numbers(samples: Iterable[Sample]) -> dict[str, str]:
    """The group of each number of statements, called by its first number.

    A group holds the numbers that have some left and right pictures in common, directly or by way
    of others.
    """
    joined: dict[str, str] = {}
    of_pictures: dict[bytes, str] = {}

    def find(number: str) -> str:
        while joined.setdefault(number, number) != number:
            number = joined[number]
        return number

    for sample in samples:
        pictures = [sha256(one).digest() for one in (sample.image or b"", *sample.more_images)]
        for number in _numbers_of(sample):
            one, other = find(number), find(of_pictures.setdefault(b"".join(pictures), number))
            joined[max(one, other, key=_in_order)] = min(one, other, key=_in_order)
    return {number: find(number) for number in joined}


def _in_order(number: str) -> tuple[int, str]:
    split, _, place = number.partition("-")
    return int(place), split


def _numbers_of(sample: Sample) -> list[str]:
    return [number_of(statement) for statement in list_statements([sample])]


def _join_answers(sample: Sample) -> Sample:
    asked = [
        replace(one, answers=(", ".join(one.answers),)).to_json()
        for one in questions_of(sample.meta)[0]
    ]
    return replace(sample, meta={**sample.meta, QUESTIONS: asked})


def _read(source: Path, name: str) -> list[Sample]:
    path = source / f"{name}.parquet"
    if not path.is_file():
        raise UsageError(f"{path} is absent; BLIP_SHARED must name the folder of {source.name}")
    return read_all(path)


def _write(out: Path, samples: Callable[[], Iterable[Sample]]) -> None:
    if not out.is_dir():
        with atomic_folder(out) as part:
            write_shards(samples(), part)
