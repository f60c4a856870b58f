"""Trainings with pictures and without: one that was stopped is not followed by the next."""

from pathlib import Path

import pytest

from experiments import withheld
from experiments.guesses import guess_answers


def test_a_training_that_was_stopped_ends_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Path] = []

    def stop(*words: str | Path) -> None:
        begun.append(Path(words[words.index("--out") + 1]))

    monkeypatch.setattr(withheld, "blip", stop)
    for name in ("write_grey", "write_shuffled"):
        monkeypatch.setattr(withheld, name, lambda *_: None)
    trial = withheld.Trial(
        task="vqa",
        recipe="scenes",
        init=tmp_path,
        training=tmp_path,
        test=tmp_path,
        folder=tmp_path / "trial",
    )
    with pytest.raises(SystemExit) as ended:
        withheld.run_trial(trial, guess_answers)
    assert ended.value.code == 0
    assert begun == [tmp_path / "trial/images"]
