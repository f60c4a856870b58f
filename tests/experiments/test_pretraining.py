"""Other settings of the demo's pre-training: each is trained once, ranked, and written down."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from blip.config import strict
from blip.data.config import DataConfig, SourceConfig
from blip.data.scenes.write import write_splits
from blip.data.tokenizer import Tokenizer
from blip.recipes.bootstrap import scenes_test
from blip.tasks.config import PretrainConfig
from experiments.scenes_demo import pretraining
from tests.support.tiny_data import SENTENCE

VARIANTS = ["no queue", "queue, alpha 0"]


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """What the experiment reads of a finished demo."""
    recipe, run = scenes_test(), tmp_path / "run"
    write_splits(replace(recipe.data, human=12, web=12, val=1, test=6), run / "data")
    (run / "tokenizer").mkdir()
    tokenizer = Tokenizer.train([SENTENCE] * 3, vocabulary_size=100)
    tokenizer.save(run / "tokenizer")
    text = replace(recipe.model.text, vocabulary_size=tokenizer.vocabulary_size)
    # Places as another machine had them.
    sources = [SourceConfig(name=name, shards=(f"elsewhere/{name}",)) for name in ("human", "web")]
    config = PretrainConfig(
        model=replace(recipe.model, text=text),
        tokenizer="elsewhere/tokenizer",
        data=DataConfig(sources=tuple(sources), batch_size=4, image=recipe.image, max_tokens=30),
        train=replace(recipe.pretrain, steps=9, evaluate_every=None),
        contrastive=replace(recipe.contrastive, queue_size=8),
    )
    (run / "round-1/pretrain").mkdir(parents=True)
    strict.save(config, run / "round-1/pretrain/config.json")
    return run


def test_variants_are_trained_once_and_ranked(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pretraining, "HERE", tmp_path)
    trained: list[float] = []
    train = pretraining.pretrain.train

    def note(config: PretrainConfig, out: Path) -> object:
        trained.append(config.contrastive.alpha)
        return train(config, out)

    monkeypatch.setattr(pretraining.pretrain, "train", note)
    words = ["--run", str(demo), "--out", str(tmp_path / "out"), "--steps", "2"]
    assert pretraining.main([*words, "--variants", *VARIANTS]) == 0
    assert trained == [0.4, 0.0]
    assert sorted(path.name for path in (tmp_path / "out").glob("*queue*")) == [
        "no-queue",
        "queue-alpha-0",
    ]
    first = json.loads((tmp_path / "pretraining.json").read_text())
    assert first["steps"] == 2
    assert first["variants"].keys() == set(VARIANTS)
    for found in first["variants"].values():
        assert found["matching"] > 0
        assert 0 <= found["by_itc"]["tr10"] <= 100
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in VARIANTS]

    # Nothing is trained again: another number of steps would be refused.
    assert pretraining.main([*words, "--variants", *VARIANTS]) == 0
    assert json.loads((tmp_path / "pretraining.json").read_text())["variants"] == first["variants"]
