"""The real data sets as shards: what is trained with, what is held out, and what belongs together.

Nothing of them is kept in the project; they lie in the folder that BLIP_SHARED names.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from blip.data.questions import QUESTIONS, questions_of
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from blip.errors import UsageError
from blip.files import atomic_folder
from experiments.blind import read_all
from experiments.guesses import list_questions, list_statements

HELD_OUT = 10
"""Of the statements of NLVR, those of every tenth number are held out."""
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
    """Statements to train with; held out are dev, and every tenth number of the others.

    A statement comes up to six times with its boxes rearranged, always under the same number.
    """
    _write(out / "training", lambda: (s for s in _read(source, "train") if not _is_held_out(s)))

    def held_out() -> Iterable[Sample]:
        yield from (sample for sample in _read(source, "train") if _is_held_out(sample))
        yield from _read(source, "dev")

    _write(out / "test", held_out)


def number_of(sample: Sample) -> str:
    """What samples of the same statement share: split and first number of the identifier."""
    return "-".join(list_statements([sample])[0].identifier.split("-")[:2])


def _is_held_out(sample: Sample) -> bool:
    return int(number_of(sample).split("-")[1]) % HELD_OUT == 0


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
