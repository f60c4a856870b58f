"""VisDial's files: the official layout is read, and what is broken in it is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from blip.config.strict import load_json
from blip.data.annotations.visdial import holds_dialogues, read_dialogues
from blip.data.dialogues import Dialogue, dialogue_of
from blip.data.examples.dialogue_set import DialogueSet
from blip.data.pack import Collection, pack_collection
from blip.data.readers.open import open_place
from blip.data.sample import OFFICIAL_ID, Sample
from blip.errors import BlipError, UsageError
from tests.support.vectors import FOLDER
from tests.support.visdial import (
    ANSWERS,
    official_dialog,
    official_round,
    stand_in_pictures,
    write_dense,
    write_official,
)

SHARED = FOLDER.parent / "visdial"


def dialogue(sample: Sample) -> Dialogue:
    found, faults = dialogue_of(sample.meta)
    assert found is not None
    assert not faults
    return found


def faults(samples: list[Sample]) -> list[str | None]:
    return [sample.error for sample in samples if sample.error is not None]


def test_a_dialogue_has_texts_for_its_indices_and_the_relevance_beside(tmp_path: Path) -> None:
    path = write_official(tmp_path, [official_dialog(42), official_dialog(7, rounds=2)])
    relevance = [0.0] * 99 + [0.5]
    write_dense(tmp_path, [{"image_id": 42, "round_id": 2, "gt_relevance": relevance}])
    stand_in_pictures(tmp_path / "images", [42, 7])
    assert holds_dialogues(path)
    samples = list(open_place(path).samples())
    assert [sample.meta[OFFICIAL_ID] for sample in samples] == [42, 7]
    assert all(sample.image is not None and sample.error is None for sample in samples)
    first, second = map(dialogue, samples)
    assert (first.caption, len(first.rounds), len(second.rounds)) == ("a photo of a cat.", 3, 2)
    one = first.rounds[1]
    assert (one.question, one.answer, one.answer_index) == ("how many are there", "no", 5)
    assert len(one.options) == 100
    assert one.options[5] == "no"
    assert one.relevance == tuple(relevance)
    assert first.rounds[0].relevance == ()
    turn = first.turn(2)
    assert turn.history == (("is it red", "yes"), ("how many are there", "no"))
    assert turn.question == "what is it"


def test_relevance_in_upper_case_is_found(tmp_path: Path) -> None:
    path = write_official(tmp_path, [official_dialog(42)])
    dense = write_dense(
        tmp_path, [{"image_id": 42, "round_id": 2, "gt_relevance": [0.0] * 99 + [0.5]}]
    )
    dense.rename(dense.with_suffix(".JSON"))
    stand_in_pictures(tmp_path / "images", [42])
    (sample,) = read_dialogues(path)
    assert dialogue(sample).rounds[1].relevance[-1] == 0.5


def test_the_last_round_of_a_test_split_is_not_answered(tmp_path: Path) -> None:
    last = official_round(1, answer=None, gt_index=None)
    early = official_round(0, answer_options=None, gt_index=None)
    path = write_official(tmp_path, [official_dialog(42, dialog=[early, last])])
    stand_in_pictures(tmp_path, [42])
    (sample,) = read_dialogues(path)
    first, second = dialogue(sample).rounds
    assert (first.answer, first.options) == ("yes", ())
    assert (second.answer, second.answer_index, len(second.options)) == (None, None, 100)
    data = DialogueSet([str(path)])
    assert data.counts() == {"images": 1, "rounds": 1, "rounds_without_answers": 1}


@pytest.mark.parametrize(
    ("number", "changes", "fault", "rounds", "ranked"),
    [
        (1, {"answer_options": list(range(99))}, "wrong_options: 99 options, not 100", 3, 2),
        (1, {"answer_options": "none"}, "wrong_options: no list of options, not 100", 3, 2),
        (2, {"answer_options": [*range(99), 999]}, "wrong_options: they are not texts", 3, 2),
        (0, {"answer_options": None}, "wrong_options: none, and gt_index is one of them", 3, 2),
        (0, {"gt_index": 100}, "wrong_answer_index: 100 of 100 options", 3, 2),
        (0, {"gt_index": -1}, "wrong_answer_index: -1 of 100 options", 3, 2),
        (0, {"gt_index": 4}, "wrong_answer_index: option 4 is not the answer", 3, 2),
        (1, {"answer": None}, "missing_answer: round 2 is not the last", 2, 2),
        (1, {"answer": 5000}, "missing_answer: round 2 has no text as its answer", 2, 1),
        (2, {"answer": 10**9}, "missing_answer: round 3 has no text as its answer", 3, 2),
        (2, {"answer": "no"}, "missing_answer: round 3 has no text as its answer", 3, 2),
        (1, {"question": 77}, "broken_round: round 2 has no text as its question", 1, 1),
    ],
)
def test_broken_rounds_are_named_and_the_rest_is_used(
    number: int, changes: dict[str, Any], fault: str, rounds: int, ranked: int, tmp_path: Path
) -> None:
    given = [official_round(place) for place in range(3)]
    given[number] = official_round(number, **changes)
    path = write_official(tmp_path, [official_dialog(42, dialog=given), official_dialog(7)])
    stand_in_pictures(tmp_path, [42, 7])
    samples = list(read_dialogues(path))
    (found,) = faults(samples)
    assert (found or "").startswith(fault)
    sound = dialogue(samples[0])
    assert len(sound.rounds) == rounds
    assert sum(bool(one.options) for one in sound.rounds) == ranked
    assert len(dialogue(samples[-1]).rounds) == 3
    data = DialogueSet([str(path)])
    assert len(data) == 2
    assert data.bad.counts.total() == 1


def test_a_missing_caption_and_relevance_that_comes_twice_are_named(tmp_path: Path) -> None:
    path = write_official(tmp_path, [official_dialog(42, caption=None), official_dialog(7)])
    first, second = [1.0] + [0.0] * 99, [0.5] * 100
    entries = [{"image_id": 7, "round_id": 2, "gt_relevance": values} for values in (first, second)]
    write_dense(tmp_path, entries)
    stand_in_pictures(tmp_path, [42, 7])
    samples = list(read_dialogues(path))
    again = "duplicate_round: entry 1 of the dense annotations"
    assert sorted(filter(None, faults(samples))) == [again, "missing_caption"]
    without, sound = (dialogue(sample) for sample in samples if sample.error is None)
    assert (without.caption, len(without.rounds)) == ("", 3)
    assert sound.rounds[1].relevance == tuple(first)


def test_broken_dialogues_are_named_and_the_rest_is_used(tmp_path: Path) -> None:
    dialogs = [
        official_dialog(42),
        official_dialog(42),
        official_dialog(None),
        "no dialogue",
        official_dialog(8, dialog=[]),
        official_dialog(9),
    ]
    path = write_official(tmp_path, dialogs)
    write_dense(
        tmp_path,
        [
            {"image_id": 42, "round_id": 1, "gt_relevance": [1.0] * 99},
            {"image_id": 42, "round_id": 9, "gt_relevance": [1.0] * 100},
            {"image_id": [4], "gt_relevance": None},
        ],
    )
    stand_in_pictures(tmp_path, [42, 8])
    data = DialogueSet([str(path)])
    assert dict(data.bad.counts) == {
        "wrong_relevance": 1,
        "duplicate_image_id": 1,
        "broken_dialogue": 2,
        "no_round": 1,
        "missing_image": 1,
        "unknown_round": 2,
    }
    unknown = "unknown_round: the dense annotations name a round that visdial_1.0_val.json lacks"
    assert faults(list(read_dialogues(path)))[-2:] == [unknown] * 2
    assert [picture.image_id for picture in data.pictures] == [42]
    assert data.pictures[0].dialogue.rounds[0].relevance == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "0.9"}, r"val\.json is of version 0\.9 of VisDial; allowed: 1\.0"),
        ({"version": None}, r"is of version None"),
        ({"data": {"dialogs": [], "answers": []}}, r'has no list "questions" beside "dialogs"'),
    ],
)
def test_other_layouts_end_in_one_line(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write_official(tmp_path, [official_dialog(42)], **changes)
    with pytest.raises(UsageError, match=message):
        open_place(path).check()
    with pytest.raises(UsageError, match=message):
        DialogueSet([str(path)])


def test_options_of_other_files_are_refused(tmp_path: Path) -> None:
    path = write_official(tmp_path, [official_dialog(42)])
    with pytest.raises(UsageError, match=r"--split val: .* is one split of VisDial"):
        open_place(path, split="val").check()
    write_dense(tmp_path, ["nothing"])
    with pytest.raises(UsageError, match=r"annotations\.json is no list of"):
        open_place(path).check()
    write_dense(tmp_path, [])
    with pytest.raises(BlipError, match="no usable dialogue: missing_image 1"):
        DialogueSet([str(path)])


def test_dialogues_survive_packing(tmp_path: Path) -> None:
    path = write_official(tmp_path, [official_dialog(42), official_dialog(7)])
    images = stand_in_pictures(tmp_path / "elsewhere/images", [42, 7])
    collection = Collection(source=str(path), images=images)
    packed = pack_collection(collection, tmp_path / "shards")
    assert (packed.samples, packed.left_out) == (2, {})
    again, before = DialogueSet([str(tmp_path / "shards")]), list(read_dialogues(path, images))
    assert [picture.dialogue for picture in again.pictures] == list(map(dialogue, before))
    assert [picture.image_id for picture in again.pictures] == [42, 7]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no samples at {SHARED} (set BLIP_SHARED)")
def test_the_official_file_is_read_whole(tmp_path: Path) -> None:
    content = json.loads((SHARED / "visdial_1.0_val.json").read_text(encoding="utf-8"))
    images = stand_in_pictures(
        tmp_path / "images", (one["image_id"] for one in content["data"]["dialogs"])
    )
    samples = list(open_place(SHARED / "visdial_1.0_val.json", images=images).samples())
    assert len(samples) == 126
    assert not faults(samples)
    found = [dialogue(sample) for sample in samples]
    assert sum(len(one.rounds) for one in found) == 1260
    assert sum(bool(r.relevance) for one in found for r in one.rounds) == 126
    assert all(r.answer == r.options[r.answer_index or 0] for one in found for r in one.rounds)


def test_options_stay_in_their_order() -> None:
    assert ANSWERS[0] == "yes"
    assert official_round(3)["answer_options"][5] == 3


def test_a_file_is_recognised_without_parsing_and_then_parsed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_official(tmp_path, [official_dialog(42)])
    stand_in_pictures(tmp_path, [42])
    parsed: list[Path] = []

    def count(place: Path) -> Any:
        parsed.append(place)
        return load_json(place)

    monkeypatch.setattr("blip.data.annotations.visdial.load_json", count)
    assert holds_dialogues(path)
    assert parsed == []
    assert DialogueSet([str(path)]).counts()["rounds"] == 3
    assert parsed == [path]
    write_official(tmp_path, [official_dialog(42, rounds=2)])
    assert DialogueSet([str(path)]).counts()["rounds"] == 2


@pytest.mark.parametrize(
    "content",
    ["", "[]", '[{"image": "a.jpg", "caption": "the word \\"dialogs\\": ["}]', '{"data": {}}'],
)
def test_other_files_hold_no_dialogues(content: str, tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    path.write_text(content, encoding="utf-8")
    assert not holds_dialogues(path)
    assert not holds_dialogues(tmp_path / "absent.json")
