"""Video retrieval and questions about videos, from files to figures."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blip.cli.main import main
from blip.data.examples import video_set
from blip.data.examples.video_set import VideoSet
from blip.data.tokenizer import Tokenizer
from blip.errors import BlipError
from blip.evaluation import video_qa
from blip.evaluation.config import EvaluateConfig
from blip.evaluation.subject import Subject
from blip.inference.checkpoint import load_model, save_model
from blip.metrics.retrieval import first_ranks
from blip.model.question import QuestionModel
from tests.support import videos
from tests.support.attentive_models import attentive_blip, attentive_question_model
from tests.support.ranked_scores import rank_all
from tests.support.tars import write_tar
from tests.support.tiny_data import SENTENCE
from tests.support.videos import numbered

MSVD = Path(os.environ.get("BLIP_SHARED", "../shared")) / "msvd"
needs_msvd = pytest.mark.skipif(not MSVD.is_dir(), reason=f"no MSVD at {MSVD} (set BLIP_SHARED)")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`med` and `vqa`: tiny models."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)
    models = {"med": attentive_blip(tokenizer), "vqa": attentive_question_model(tokenizer)}
    for name, model in models.items():
        (folder / name).mkdir()
        save_model(model, tokenizer, folder / name)
    return folder


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Three sound videos, and four that are not."""
    for name, content in {
        "a": numbered(9),
        "b": numbered(20),
        "c": numbered(1),
        "broken": b"no video" * 50,
        "sound": videos.only_sound(),
        "empty": b"",
    }.items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
        (tmp_path / f"{name}.txt").write_text(f"a red circle and {name}\n")
    (tmp_path / "a.txt").write_text("a red circle and a\n...\n")
    (tmp_path / "silent.mp4").write_bytes(numbered(2))
    asked = [
        {"id": n, "question": "what is it?", "answer": "circle", "video_id": name}
        for n, name in enumerate(["a", "b", "gone", "broken"])
    ]
    (tmp_path / "qa.json").write_text(json.dumps(asked))
    return tmp_path


def evaluate(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    assert main(["evaluate", *map(str, words), "--device", "cpu", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_retrieval_counts_and_names_what_is_left_out(checkpoints, clips, capsys):
    words = (checkpoints / "med", "--data", clips, "--task", "video_retrieval", "--frames", "3")
    found = evaluate(capsys, *words)
    assert (found["videos"], found["texts"]) == (3, 3)
    assert found["left_out"] == {
        "audio_only": 1,
        "broken_video": 1,
        "empty_caption": 1,
        "empty_file": 1,
        "missing_text": 1,
    }
    named = {row["key"]: row["reason"] for row in found["left_out_samples"]}
    assert named["sound.mp4"] == "audio_only"
    figures = found["video_retrieval"]
    assert set(figures) == {
        *(f"{way}{cut}" for way in ("tr", "vr") for cut in (1, 5, 10)),
        *(f"{way}_{kind}_rank" for way in ("tr", "vr") for kind in ("median", "mean")),
    }
    assert 1 <= figures["vr_median_rank"] <= 3


def test_retrieval_says_which_score_ranked(checkpoints, clips, capsys):
    words = (checkpoints / "med", "--data", clips, "--task", "video_retrieval", "--frames", "2")
    found = evaluate(capsys, *words)
    assert found["retrieval_score"] == "log_probability"
    assert set(found["retrieval_by_score"]) == {"logit", "log_probability"}
    assert found["video_retrieval"] == found["retrieval_by_score"]["log_probability"]
    by_logit = evaluate(capsys, *words, "--score", "logit")
    assert by_logit["retrieval_score"] == "logit"
    assert by_logit["video_retrieval"] == found["retrieval_by_score"]["logit"]
    assert main(["evaluate", *map(str, words), "--device", "cpu"]) == 0
    assert "ranked by the ITC cosine and ITM's log-probability" in capsys.readouterr().err


def test_videos_are_measured_only_where_the_task_says_so(checkpoints, clips, capsys):
    words = (checkpoints / "med", "--data", clips, "--task", "video_retrieval")
    assert "video_qa" not in evaluate(capsys, *words)
    assert main(["evaluate", str(checkpoints / "med"), "--data", str(clips)]) == 2
    assert main(["evaluate", str(checkpoints / "vqa"), *map(str, words[1:])]) == 2
    assert "cannot do video_retrieval" in capsys.readouterr().err


def test_questions_about_videos_give_accuracy_and_a_result_file(checkpoints, clips, capsys):
    (clips / "answers.txt").write_text("circle\nsquare\n")
    out = clips / "out"
    words = (checkpoints / "vqa", "--data", clips / "qa.json", "--task", "video_qa")
    found = evaluate(capsys, *words, "--answers", clips / "answers.txt", "--out", out)
    assert found["left_out"] == {"broken_video": 1, "missing_video": 1}
    assert (found["questions"], found["questions_without_video"]) == (2, 2)
    rows = json.loads((out / "answers.json").read_text())
    assert [(row["id"], row["video_id"], row["question"]) for row in rows] == [
        (0, "a", "what is it?"),
        (1, "b", "what is it?"),
    ]
    right = sum(row["answer"] == "circle" for row in rows)
    assert found["video_qa"]["accuracy"] == pytest.approx(100 * right / 2)
    evaluate(capsys, *words, "--max-length", "4", "--frames", "2")


def test_a_written_answer_is_right_however_it_is_spaced(checkpoints, clips):
    model = load_model(checkpoints / "vqa", of=QuestionModel).model
    tokenizer = Tokenizer.train(["a-circle"] * 3, vocabulary_size=60)
    (clips / "spaced.json").write_text(
        json.dumps([{"id": 0, "question": "what?", "answer": "a-circle", "video_id": "a"}])
    )
    data = VideoSet([str(clips / "spaced.json")], 32, 1, "questions")
    config = EvaluateConfig(checkpoint="vqa", data=("spaced.json",))
    subject = Subject(model, tokenizer, data, config)
    assert video_qa.score_answers(subject, ["a - circle"]) == [1.0]
    assert video_qa.score_answers(subject, ["circle"]) == [0.0]


def test_frames_that_do_not_fit_are_decoded_again(clips, monkeypatch):
    kept = VideoSet([str(clips)], 32, 4, "texts")
    monkeypatch.setattr(video_set, "KEPT_BYTES", 4 * 32 * 32 * 3)
    again = VideoSet([str(clips)], 32, 4, "texts")
    assert len(again._kept) == 1
    np.testing.assert_array_equal(kept.images(0, 3), again.images(0, 3))


def test_nothing_usable_is_one_line(clips):
    (clips / "one").mkdir()
    (clips / "one/x.mp4").write_bytes(b"")
    (clips / "one/x.txt").write_text("a cat")
    with pytest.raises(BlipError, match=r"no usable video: empty_file 1 \(one x.mp4 empty_file\)"):
        VideoSet([str(clips / "one")], 32, 4, "texts")


def test_ranks_by_hand():
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.3, 0.9], [0.5, 0.5, 0.5]])
    own = np.arange(3)
    # Three equal scores: the own one is expected in the middle.
    assert first_ranks(rank_all(scores), own, own).tolist() == [1.0, 3.0, 2.0]


@needs_msvd
@pytest.mark.parametrize("name", ["videos.parquet", "videodatainfo.json", "retrieval_test.jsonl"])
def test_msvd_is_read_whole(name):
    found = VideoSet([str(MSVD / name)], 32, 2, "texts")
    assert len(found) == 63
    assert not found.bad


@needs_msvd
def test_questions_of_msvd_find_their_videos(checkpoints, tmp_path, capsys):
    few = json.loads((MSVD / "test_qa.json").read_text())[:30]
    for name in ("videos.parquet", "youtube_mapping.txt"):
        (tmp_path / name).symlink_to((MSVD / name).absolute())
    (tmp_path / "test_qa.json").write_text(json.dumps(few))
    words = (checkpoints / "vqa", "--data", tmp_path / "test_qa.json", "--task", "video_qa")
    answers = ("--answers", MSVD / "answer_set.txt", "--frames", "2")
    found = evaluate(capsys, *words, *answers)
    assert found["questions"] == 30
    assert found["left_out"] == {}


def test_videos_without_a_task_name_both_tasks(checkpoints, clips, capsys):
    (clips / "list.jsonl").write_text('{"clip_name": "a", "caption": "a red circle"}\n')
    members = [("a.mp4", (clips / "a.mp4").read_bytes()), ("a.txt", b"a red circle")]
    places = [clips, clips / "list.jsonl", clips / "qa.json", write_tar(clips / "c.tar", members)]
    for place in places:
        for task in ([], ["--task", "retrieval"]):
            words = ["evaluate", checkpoints / "med", "--data", place, *task, "--device", "cpu"]
            assert main([*map(str, words)]) == 2
            error = capsys.readouterr().err
            assert f"{place} holds videos; allowed with --task video_retrieval" in error
            assert "--task video_qa" in error
            assert error.count("\n") == 1
