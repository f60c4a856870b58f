"""`blip capfilt`: models that were fine-tuned for the other half of its work."""

from pathlib import Path

import pytest

from blip.cli.main import main
from blip.config.history import save_with_history
from blip.config.strict import save
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.tasks.config import CaptionerConfig, FilterConfig
from blip.train.config import TrainConfig

SOURCES = (SourceConfig(name="human", shards=("human",)),)
DATA = DataConfig(sources=SOURCES, batch_size=2, image=ImageConfig(size=32))
TRAIN = TrainConfig(steps=1)


@pytest.mark.parametrize("inner", ["", "/checkpoint"])
def test_a_model_fine_tuned_for_the_other_job_is_named(
    inner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    captioner, matcher = tmp_path / "captioner", tmp_path / "filter"
    for folder in (captioner, matcher):
        (folder / "checkpoint").mkdir(parents=True)
    config = CaptionerConfig(init="base", data=DATA, train=TRAIN)
    save(config, captioner / "config.json")
    save_with_history(config, captioner / "config.json", 1)
    save(FilterConfig(init="base", data=DATA, train=TRAIN), matcher / "config.json")
    monkeypatch.setattr("blip.capfilt.forecast.forecast", lambda config: "")

    def said(of_captioner: Path, of_filter: Path) -> list[str]:
        models = ["--captioner", f"{of_captioner}{inner}", "--filter", f"{of_filter}{inner}"]
        line = ["capfilt", *models, "--data", "web", "--out", str(tmp_path / "out"), "--dry-run"]
        assert main(line) == 0
        return capsys.readouterr().err.splitlines()

    assert said(captioner, matcher) == []
    assert said(captioner, captioner) == [
        f"capfilt: --filter {captioner}{inner} was fine-tuned as a captioner, with LM alone"
    ]
    assert said(matcher, matcher) == [
        f"capfilt: --captioner {matcher}{inner} was fine-tuned as a filter, with ITC and ITM"
    ]
    assert said(tmp_path / "absent", tmp_path / "hub") == []
