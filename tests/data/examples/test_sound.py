"""Sets to evaluate with: sound samples are kept, what is wrong is counted up to the last one."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from blip.data.dialogues import Dialogue, Round
from blip.data.examples import evaluation_set, kept_pictures, sound
from blip.data.examples.dialogue_set import DialogueSet
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.examples.question_set import QuestionSet
from blip.data.examples.statement_set import StatementSet
from blip.data.images import decode_image
from blip.data.questions import AskedQuestion
from blip.data.sample import Sample
from blip.data.statements import PairStatement
from blip.data.writers.shards import write_shards
from blip.errors import BlipError
from blip.evaluation.subject import EvaluationData
from tests.support.pictures import photo

BROKEN = b"no picture"


def sample(number: int, content: bytes | None = None) -> Sample:
    """One that each of the sets takes, but for texts."""
    one_round = Round("what?", "red", ("red", "blue"), 0)
    meta = {
        "questions": [AskedQuestion(number, "what?", ("red",)).to_json()],
        "statements": [PairStatement(f"a{number}", "a star", label=True).to_json()],
        "dialogue": Dialogue("a star", (one_round,)).to_json(),
    }
    picture = photo(number) if content is None else content
    return Sample(f"k{number}", picture, meta=meta, more_images=(photo(number + 10),))


@pytest.mark.parametrize("kind", [QuestionSet, DialogueSet, StatementSet])
def test_pictures_beyond_memory_are_those_that_were_read(
    kind: type[QuestionSet | DialogueSet | StatementSet],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_pictures, "MEMORY", 0)
    write_shards([sample(1), sample(2, BROKEN), sample(3)], tmp_path / "shards")
    data = kind([str(tmp_path / "shards")])
    assert len(data) == 2
    assert dict(data.bad.counts) == {"not_an_image": 1}
    for place, number in enumerate((1, 3)):
        if isinstance(data, StatementSet):
            ((found, _),) = data.decode([place])
        else:
            found = data.decode(place)
        assert found.tobytes() == decode_image(photo(number), 10**6).tobytes()


@pytest.mark.parametrize("kind", [QuestionSet, DialogueSet, StatementSet])
def test_what_lies_behind_the_last_sample_that_is_wanted_is_not_judged(
    kind: type[QuestionSet | DialogueSet | StatementSet], tmp_path: Path
) -> None:
    broken = [sample(1, BROKEN), sample(2), sample(3), sample(4, BROKEN)]
    write_shards(broken, tmp_path / "shards")
    data = kind([str(tmp_path / "shards")], most=2)
    assert (len(data), data.bad.counts.total()) == (2, 1)
    write_shards([sample(1, BROKEN)], tmp_path / "nothing")
    with pytest.raises(BlipError, match=r"no usable (question|dialogue|statement): not_an_image 1"):
        kind([str(tmp_path / "nothing")])


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (QuestionSet, {"questions": 1, "questions_without_image": 2}),
        (DialogueSet, {"rounds": 1, "rounds_without_image": 2}),
        (StatementSet, {"statements": 1, "statements_without_images": 2}),
        (partial(EvaluationSet, image_size=32), {"texts": 1, "texts_without_image": 2}),
    ],
)
def test_what_is_left_out_with_its_picture_is_counted(
    kind: Callable[[list[str]], EvaluationData],
    count: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    missing = replace(sample(2), image=None, more_images=(), error="missing_image")
    samples = [replace(one, texts=("a",)) for one in (sample(1, BROKEN), missing, sample(3))]
    for module in (sound, evaluation_set):
        monkeypatch.setattr(module, "find_anywhere", lambda shards: shards)
        monkeypatch.setattr(
            module, "read_sources", lambda _, **__: (("s.tar", one) for one in samples)
        )
    data = kind(["s.tar"])
    assert count.items() <= data.counts().items()
    lost = list(count)[1].replace("_", " ")
    assert f"; {lost}: 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "there", "message"),
    [
        (QuestionSet, "statements", r"no_question: it has statements \(nlvr\)"),
        (StatementSet, "questions", r"no_statement: it has questions \(vqa\)"),
        (DialogueSet, "questions", r"no_round: it has questions \(vqa\)"),
    ],
)
def test_data_of_another_task_are_named_once(
    kind: type[QuestionSet | DialogueSet | StatementSet],
    there: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = sample(1)
    other = replace(whole, meta={there: whole.meta[there]})
    write_shards([other], tmp_path / "shards")
    with pytest.raises(BlipError, match=message):
        kind([str(tmp_path / "shards")])
    assert "left out" not in capsys.readouterr().err
