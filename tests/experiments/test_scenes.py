"""The experiment on scenes: what it trains, withholds, counts and does not repeat."""

import json
from pathlib import Path

import numpy as np
import pytest

from blip.config.strict import save
from blip.data.images import decode_image
from blip.data.sample import Sample
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.write import write_splits
from experiments import withheld
from experiments.blind import read_all, write_grey, write_shuffled
from experiments.guesses import guess_answers, guess_labels
from experiments.scenes.__main__ import main
from experiments.scenes.tasks import TASKS
from tests.support.saved_models import tiny_checkpoint

WORDS = ["what colour is the star? a red circle left above none one yes no there are both images"]
DRAWN = ScenesConfig(image_size=32, human=8, web=1, val=1, test=5)
FEW = (
    "--train.steps",
    "2",
    "--data.image.size",
    "32",
    "--data.batch_size",
    "4",
    "--data.max_tokens",
    "30",
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "data").mkdir()
    save(DRAWN, folder / "data/config.json")
    tiny_checkpoint(folder / "round-1/pretrain", WORDS)
    return folder


def sample(number: int, **meta: object) -> Sample:
    return Sample(f"s{number}", b"picture", meta=meta)


def question(text: str, kind: str, *answers: str) -> dict[str, object]:
    return {"text": text, "answers": list(answers), "answer_type": kind}


def test_guesses_by_hand() -> None:
    training = [
        sample(0, questions=[question("a?", "colour", "red"), question("b?", "size", "big")]),
        # Four ways to say it weigh as much as one.
        sample(1, questions=[question("a?", "colour", "red"), question("c?", "where", *"llll")]),
    ]
    test = [sample(2, questions=[question("a?", "colour", "red"), question("b?", "size", "big")])]
    guessed = guess_answers(training, test)
    assert guessed["most_frequent"]["accuracy"] == 50.0
    assert guessed["most_frequent_of_type"]["accuracy"] == 100.0
    labels = [{"text": str(n), "label": label} for n, label in enumerate((True, False, False))]
    guessed = guess_labels([sample(0, statements=labels)], [sample(1, statements=labels[:2])])
    assert guessed == {"most_frequent": {"accuracy": 50.0}}


def test_withheld_pictures_say_nothing(tmp_path: Path) -> None:
    write_splits(ScenesConfig(human=1, web=1, val=1, test=6, statements=2), tmp_path / "scenes")
    test = tmp_path / "scenes/test"
    write_grey(test, tmp_path / "grey")
    write_shuffled(test, tmp_path / "shuffled", seed=1)
    real, grey, other = (read_all(p) for p in (test, tmp_path / "grey", tmp_path / "shuffled"))
    assert [s.meta for s in grey] == [s.meta for s in real] == [s.meta for s in other]
    shown = {content for s in grey for content in (s.image, *s.more_images)}
    assert len(shown) == 1
    assert np.ptp(np.asarray(decode_image(shown.pop(), 10**6))) == 0
    pairs = [(s.image, *s.more_images) for s in other]
    assert all(len(pair) == 2 for pair in pairs)
    assert all(mine != (s.image, *s.more_images) for mine, s in zip(pairs, real, strict=True))
    assert sorted(pairs) == sorted((s.image, *s.more_images) for s in real)


@pytest.mark.parametrize("task", [task.name for task in TASKS])
def test_a_task_runs_and_is_not_repeated(
    task: str, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "README.md").write_text(f"# Page\n\n<!-- {task} -->\nold\n<!-- end -->\nkept\n")
    places = ("--demo", demo, "--out", tmp_path / "runs", "--results", tmp_path)
    words = [task, "--seeds", "0", "1", *map(str, places), "--", *FEW]
    assert main(words) == 0
    written = json.loads((tmp_path / "results.json").read_text())[task]
    figure = next(one for one in TASKS if one.name == task).figures[0]
    for name in ("images", "text_only", "images_withheld_grey", "images_withheld_shuffled"):
        values = [run["figures"][name][figure] for run in written["runs"]]
        assert written["figures"][name][figure]["mean"] == pytest.approx(sum(values) / 2)
    assert written["best_blind_baseline"] in written["images_less"]
    assert all(value["mean"] > 0 for value in written["training_seconds"].values())
    assert written["commit"]
    page = (tmp_path / "README.md").read_text()
    assert "old" not in page
    assert f"| {task}, 2 seeds |" in page
    assert page.endswith("<!-- end -->\nkept\n")

    def refuse(*_: object) -> None:
        raise AssertionError("done already")

    monkeypatch.setattr(withheld, "blip", refuse)
    monkeypatch.setattr(withheld, "measure", refuse)
    assert main(words) == 0


def test_a_training_that_fails_ends_the_program(demo: Path, tmp_path: Path) -> None:
    words = ["vqa", "--demo", str(demo), "--out", str(tmp_path), "--", "--train.steps", "many"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    with pytest.raises(SystemExit):
        main(["vqas"])
