"""The judge: its figures are those of the evaluation, its labels and areas those of a hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from blip.cli.main import main as blip
from blip.data.examples.statement_set import StatedImages
from blip.data.readers.video_places import are_only_videos
from blip.data.statements import PairStatement
from blip.evaluation.config import EvaluateConfig, RetrievalEvaluationConfig
from blip.evaluation.evaluate import evaluate
from blip.generation.config import DecodingConfig
from blip.tasks.table import EVALUATIONS
from experiments.judge import JudgeOptions, describe, judge, main
from experiments.judging import area_under_curve, filter_figures, medians, unit_names
from tests.support.pictures import photo
from tests.support.saved_models import save_tiny, tiny_checkpoint
from tests.support.videos import numbered
from tests.support.visdial import (
    official_dialog,
    stand_in_pictures,
    write_dense,
    write_official,
)

WORDS = ("red", "green", "blue", "dog", "cat", "bird", "house", "tree")
DECODING = DecodingConfig(kind="greedy", max_length=8)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def captioned(folder: Path, photos: int = 8) -> Path:
    rows = [
        {
            "key": f"k{i}",
            "image": photo(i, "JPEG"),
            "caption": [f"a {WORDS[i]} thing", f"one {WORDS[i]} {WORDS[-1 - i]}"],
        }
        for i in range(photos)
    ]
    return write(folder / "photos.parquet", rows)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "model", [f"a one thing {' '.join(WORDS)}"])


def test_figures_are_those_of_the_evaluation(tmp_path: Path, checkpoint: Path) -> None:
    data, out = captioned(tmp_path), tmp_path / "made" / "judged.json"
    found = judge(
        JudgeOptions(
            checkpoint=str(checkpoint), data=str(data), decoding=DECODING, resamples=200, out=out
        )
    )
    assert (found["images"], found["texts"]) == (8, 16)
    config = EvaluateConfig(
        checkpoint=str(checkpoint),
        data=(str(data),),
        retrieval=RetrievalEvaluationConfig(max_tokens=35),
        captioning=DECODING,
    )
    expected = evaluate(config, EVALUATIONS)
    assert found["captions"] == expected["captions"]
    for name in ("bleu4", "cider", "rouge_l"):
        assert found["caption"][name][0] == pytest.approx(expected["caption"][name])
    for score, recalls in expected["retrieval_by_score"].items():
        for name in ("tr1", "tr5", "ir1", "ir10"):
            value, low, high = found["retrieval"][score][name]
            assert value == pytest.approx(recalls[name])
            assert low <= value <= high
    itc = found["retrieval"]["itc"]
    assert itc["mean"][0] == pytest.approx(
        np.mean([itc[f"{way}{k}"][0] for way in ("tr", "ir") for k in (1, 5, 10)])
    )


def test_the_command_writes_and_prints_the_same_twice(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(checkpoint), "--data", str(captioned(tmp_path)), "--tasks", "retrieval"]
    command += ["--resamples", "50", "--seed", "3", "--candidates", "4", "--out"]
    assert main([*command, str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder, where a file is to be written" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "one.json")]) == 0
    printed = capsys.readouterr().out
    assert "8 images, 16 texts; 95% intervals of 50 samples of the images, seed 3" in printed
    # Recalls look at ten.
    assert "the best 10 re-ranked by ITM's log-probability" in printed
    assert main([*command, str(tmp_path / "two.json")]) == 0
    one, two = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("one", "two"))
    assert one == two
    assert one["candidates"] == 10
    assert "caption" not in one


def labelled(folder: Path, column: str = "match") -> Path:
    rows = [
        {
            "key": f"r{i}",
            "image": b"broken" if i == 5 else photo(i // 2, "JPEG"),
            "caption": f"a {WORDS[i]} thing",
            column: None if i == 4 else i % 3 == 0,
        }
        for i in range(8)
    ]
    return write(folder / "labelled.parquet", rows)


def test_a_filter_is_judged_by_labels_and_the_rest_by_right_texts(
    tmp_path: Path, checkpoint: Path
) -> None:
    data = labelled(tmp_path)
    found = judge(
        JudgeOptions(
            checkpoint=str(checkpoint),
            data=str(data),
            decoding=DECODING,
            threshold=0.0,
            resamples=20,
        )
    )
    # Of eight texts one is broken and one has no label; 0, 3 and 6 are right.
    assert (found["label"], found["labelled_texts"], found["labelled_images"]) == ("match", 6, 3)
    assert found["left_out"] == {"no_label": 1, "not_an_image": 1}
    assert found["filter"]["kept"][0] == 100.0
    assert found["filter"]["precision"][0] == found["filter"]["right"][0] == 50.0
    assert found["filter"]["recall"][0] == 100.0
    assert (found["images"], found["texts"]) == (3, 3)
    nothing = JudgeOptions(
        checkpoint=str(checkpoint), data=str(data), tasks=("filter",), threshold=1.0, resamples=9
    )
    assert judge(nothing)["filter"]["precision"] == [None, None, None]


def test_filter_figures_by_hand() -> None:
    scores = np.array([0.9, 0.6, 0.5, 0.3, 0.3])
    right = np.array([True, False, True, True, False])
    owners = np.array([0, 0, 1, 1, 2])
    statistic = filter_figures(scores, -scores, right, owners, 0.5)
    found = statistic(np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0]]))
    assert found["precision"] == pytest.approx([100 * 2 / 3, 100.0])
    assert found["recall"] == pytest.approx([100 * 2 / 3, 50.0])
    assert found["kept"] == pytest.approx([60.0, 25.0])
    # Of six pairs of a right and a wrong one four are won, and one is equal: 0.9 beats both,
    # 0.5 beats 0.3, 0.3 equals 0.3.
    assert found["area"] == pytest.approx([100 * 3.5 / 6, 75.0])
    assert found["itc_area"] == pytest.approx([100 * 2.5 / 6, 25.0])


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=1, max_size=12
    )
)
def test_areas_count_pairs(texts: list[tuple[int, bool, int]]) -> None:
    scores, right, weights = (np.array(column) for column in zip(*texts, strict=True))
    won = every = 0.0
    for score, is_right, weight in texts:
        for other, other_is_right, other_weight in texts:
            if is_right and not other_is_right:
                every += weight * other_weight
                won += weight * other_weight * ((score > other) + 0.5 * (score == other))
    found = area_under_curve(scores, right, weights[None].astype(float))[0]
    assert np.isnan(found) if every == 0 else found == pytest.approx(won / every)


def test_questions_are_judged_by_their_answers(tmp_path: Path) -> None:
    write(
        tmp_path / "images.parquet",
        [{"key": f"k{i}", "image": photo(i, "JPEG")} for i in range(2)],
    )
    questions = [
        {"question_id": i, "key": f"k{i % 2}", "question": "what is it?", "answers": [answer]}
        for i, answer in enumerate(["dog", "cat", "dog"])
    ]
    data = write(tmp_path / "questions.parquet", questions)
    model = save_tiny(tmp_path / "vqa", "vqa")
    (tmp_path / "answers.txt").write_text("dog\ncat\n")
    found = judge(
        JudgeOptions(
            checkpoint=str(model),
            data=str(data),
            answers=tmp_path / "answers.txt",
            resamples=50,
        )
    )
    assert found["questions"] == 3
    right = {0: "dog", 1: "cat", 2: "dog"}
    expected = [row["answer"] == right[row["question_id"]] for row in found["answers"]]
    assert found["vqa"]["accuracy"][0] == pytest.approx(100 * np.mean(expected))


def test_statements_are_judged_by_sets_of_pairs(tmp_path: Path) -> None:
    rows = [
        {
            "identifier": f"dev-{of_set}-{pair}-0",
            "sentence": f"there is a {WORDS[of_set]} thing",
            "label": str(label),
            "left": photo(2 * number, "JPEG"),
            "right": photo(2 * number + 1, "JPEG"),
        }
        for number, (of_set, pair, label) in enumerate(
            [(0, 0, True), (0, 1, True), (1, 0, False), (2, 0, True)]
        )
    ]
    model = save_tiny(tmp_path / "nlvr", "nlvr")
    data = write(tmp_path / "pairs.parquet", rows)
    found = judge(JudgeOptions(checkpoint=str(model), data=str(data), resamples=100))
    said = {row["identifier"]: row["prediction"] for row in found["predictions"]}
    right = [said[row["identifier"]] == row["label"] for row in rows]
    together = [right[0] and right[1], right[2], right[3]]
    assert found["nlvr"]["accuracy"][0] == pytest.approx(100 * np.mean(right))
    assert found["nlvr"]["consistency"][0] == pytest.approx(100 * np.mean(together))
    config = EvaluateConfig(checkpoint=str(model), data=(str(data),))
    expected = evaluate(config, EVALUATIONS)["nlvr"]
    assert {name: figure[0] for name, figure in found["nlvr"].items()} == pytest.approx(expected)


def test_statements_without_official_identifiers_are_drawn_with_their_pair(tmp_path: Path) -> None:
    rows = [
        {
            "identifier": f"own-{pair}-{number}",
            "sentence": "there is a red thing",
            "label": str(number % 2 == 0),
            "left": photo(2 * pair, "JPEG"),
            "right": photo(2 * pair + 1, "JPEG"),
        }
        for pair in range(3)
        for number in range(4)
    ]
    model = save_tiny(tmp_path / "nlvr", "nlvr")
    data = write(tmp_path / "pairs.parquet", rows)
    found = judge(JudgeOptions(checkpoint=str(model), data=str(data), resamples=50))
    # Of each pair one half is right, whichever pairs are drawn; nothing says what is consistent.
    assert found["nlvr"] == {"accuracy": [50.0, 50.0, 50.0]}
    one, official = (PairStatement(name, "a star") for name in ("own-0", "dev-204-1-0"))
    assert unit_names(7, StatedImages(0, 1, (one, official, one))) == ["dev-204"] * 3
    assert unit_names(7, StatedImages(0, 1, (one, one))) == [7, 7]


def test_data_without_labels_are_said_to_have_none() -> None:
    found = {"data": "pairs.json", "statements": 3, "resamples": 10, "seed": 0, "nlvr": {}}
    assert describe(found)[-1] == "  none: no true answers or labels stand in the data"


def test_videos_are_judged_by_retrieval_and_by_answers(tmp_path: Path, checkpoint: Path) -> None:
    pytest.importorskip("av")
    rows = [
        {
            "key": f"v{i}",
            "video": numbered(8 + i),
            "caption": [f"a {WORDS[i]} thing", WORDS[-1 - i]],
        }
        for i in range(3)
    ]
    data = write(tmp_path / "videos.parquet", rows)
    found = judge(JudgeOptions(checkpoint=str(checkpoint), data=str(data), resamples=20))
    assert (found["videos"], found["texts"]) == (3, 6)
    packed = tmp_path / "packed"
    assert blip(["data", "pack", str(data), str(packed)]) == 0
    again = judge(JudgeOptions(checkpoint=str(checkpoint), data=str(packed), resamples=50))
    # The bootstrap draws the videos in the order in which they are read.
    scores = [one["video_retrieval"]["log_probability"]["tr1"][0] for one in (again, found)]
    assert (again["videos"], scores[0]) == (3, scores[1])
    config = EvaluateConfig(checkpoint=str(checkpoint), data=(str(data),), task="video_retrieval")
    expected = evaluate(config, EVALUATIONS)["video_retrieval"]
    score = found["video_retrieval"]["log_probability"]
    assert {name: score[name][0] for name in expected} == pytest.approx(expected)
    assert score["tr_mean_rank"][1] <= score["tr_mean_rank"][0] <= score["tr_mean_rank"][2]
    assert "vr_median_rank" in "\n".join(describe(found))

    asked = [
        {"id": i, "video_id": f"v{i}", "question": "what is it?", "answer": answer}
        for i, answer in enumerate(["dog", "cat", "dog"])
    ]
    (tmp_path / "qa.json").write_text(json.dumps(asked))
    (tmp_path / "answers.txt").write_text("dog\ncat\n")
    model = save_tiny(tmp_path / "vqa", "vqa")
    options = JudgeOptions(
        checkpoint=str(model),
        data=str(tmp_path / "qa.json"),
        answers=tmp_path / "answers.txt",
        resamples=20,
    )
    answered = judge(options)
    right = [row["answer"] == asked[row["id"]]["answer"] for row in answered["answers"]]
    assert answered["video_qa"]["accuracy"][0] == pytest.approx(100 * np.mean(right))


def test_dialogues_are_judged_by_the_ranks_of_answers(tmp_path: Path) -> None:
    official = write_official(tmp_path, [official_dialog(one) for one in (7, 8, 9)])
    shares = [0.0] * 5 + [1.0, 0.5] + [0.0] * 93
    write_dense(tmp_path, [{"image_id": 8, "round_id": 2, "gt_relevance": shares}])
    stand_in_pictures(tmp_path / "pictures", (7, 8))
    model = save_tiny(tmp_path / "visdial", "visdial")
    packed, out = tmp_path / "shards", tmp_path / "judged.json"
    assert blip(["data", "pack", str(official), str(packed)]) == 0
    config = EvaluateConfig(checkpoint=str(model), data=(str(official),))
    expected = evaluate(config, EVALUATIONS)
    for data in (official, packed):
        command = [str(model), "--data", str(data), "--resamples", "50", "--out", str(out)]
        assert main(command) == 0
        found = json.loads(out.read_text())
        assert (found["images"], found["rounds"]) == (2, 6)
        assert {name: figure[0] for name, figure in found["visdial"].items()} == pytest.approx(
            expected["visdial"]
        )
        assert found["ranks"] == expected["ranks"]
        # Whole images are drawn: that of the one round with relevance, or none.
        assert len(set(found["visdial"]["ndcg"])) == 1
        low, high = found["visdial"]["mrr"][1:]
        by_image = [
            np.mean([100 / row["ranks"][5] for row in found["ranks"] if row["image_id"] == image])
            for image in (7, 8)
        ]
        assert (low, high) == pytest.approx((min(by_image), max(by_image)))
    assert "missing_image" in found["left_out"] or data == packed


def test_medians_of_what_is_drawn() -> None:
    values, owners = np.array([5.0, 1.0, 3.0, 2.0]), np.array([0, 1, 1, 2])
    weights = np.array([[1.0, 1, 1], [0, 2, 0], [3, 0, 0], [0, 1, 2], [0, 0, 0]])
    drawn = [[1, 2, 3, 5], [1, 1, 3, 3], [5, 5, 5], [1, 2, 2, 3]]
    found = medians(values, owners, weights)
    assert found[:4].tolist() == [np.median(some) for some in drawn]
    assert np.isnan(found[4])


def test_what_are_videos(tmp_path: Path) -> None:
    videos = write(tmp_path / "videos.parquet", [{"key": "v", "video": b"", "caption": "a"}])
    asked = write(tmp_path / "qa.parquet", [{"key": "v", "question": "what?", "answer": "a"}])
    assert are_only_videos(str(videos))
    assert are_only_videos(str(asked))
    texts = {
        "lines.jsonl": '{"clip_name": "v", "caption": "a"}',
        "info.json": '{"videos": [{"video_id": "v"}], "sentences": []}',
        "rows.csv": "key,video_id,sentence\n1,v,a\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert are_only_videos(str(tmp_path / name)), name
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").touch()
    assert are_only_videos(str(tmp_path / "clips"))
    # Pictures beside the questions, a picture in the folder, and a video that is an answer.
    write(tmp_path / "images.parquet", [{"key": "v", "image": b""}])
    (tmp_path / "clips" / "a.jpg").touch()
    (tmp_path / "answers.json").write_text('[{"image_id": 1, "answers": ["video"]}]')
    (tmp_path / "videos.parquet").unlink()
    for name in ("qa.parquet", "clips", "answers.json", "images.parquet", "absent.json"):
        assert not are_only_videos(str(tmp_path / name)), name


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (["--tasks", "flying"], 2, "--tasks is flying; allowed: retrieval, caption"),
        (["--tasks", "filter"], 2, "allow: retrieval, caption"),
        (["--tasks", "vqa"], 2, "allow: retrieval, caption"),
        (["--label", "colour"], 2, "--label is colour; "),
        (["--label", "key"], 2, "--label is key, which holds 'k0'"),
        (["--resamples", "0"], 2, "--resamples is 0"),
        (["--device", "tpu"], 2, "tpu"),
        (["--nonsense"], 2, "unknown option --nonsense"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    status: int,
    message: str,
) -> None:
    assert main([str(checkpoint), "--data", str(captioned(tmp_path)), *more]) == status
    printed = capsys.readouterr()
    assert message in printed.err
    assert (len(printed.err.splitlines()), printed.out) == (1, "")


def test_files_that_no_model_can_be_judged_by_are_one_line(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = write(tmp_path / "asked.parquet", [{"key": "k", "question": "what?", "answers": ["a"]}])
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    for name, message in (
        (asked, "asks questions"),
        (tmp_path / "torn.parquet", "not a Parquet file"),
        (tmp_path / "absent.parquet", "no file at"),
    ):
        assert main([str(checkpoint), "--data", str(name)]) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert len(printed.splitlines()) == 1
