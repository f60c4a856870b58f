"""Pre-training that starts from a ViT and a BERT: wired in, checked first, refused where absurd."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from blip.config.override import override
from blip.config.strict import from_json, to_json
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.tokenizer import Tokenizer
from blip.errors import BlipError, UsageError
from blip.inference.checkpoint import load_model, save_model
from blip.model.blip import Blip
from blip.model.checkpoint.original import Names, to_original, unimodal_layout, vision_layout
from blip.objectives.config import ContrastiveConfig
from blip.recipes import pretrain as recipes
from blip.tasks import pretrain
from blip.tasks.config import PretrainConfig
from blip.tasks.run import RunFolder
from blip.train.config import OptimizerConfig, TrainConfig
from blip.train.training import Training
from tests.support.tiny import TINY


@pytest.fixture
def config(tmp_path: Path, shards: Path, tokenizer: Tokenizer) -> PretrainConfig:
    tokenizer.save(tmp_path)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    return PretrainConfig(
        model=replace(TINY, text=text),
        tokenizer=str(tmp_path / "tokenizer.json"),
        data=DataConfig(
            sources=(SourceConfig(name="human", shards=(str(shards),)),),
            batch_size=4,
            image=ImageConfig(size=32),
        ),
        train=TrainConfig(
            steps=1, optimizer=OptimizerConfig(lr=1e-9, warmup_lr=0.0), device="cpu", log_every=1
        ),
        contrastive=ContrastiveConfig(queue_size=8),
    )


def published(model: Blip, folder: Path) -> tuple[Path, Path]:
    """The image encoder of a model as timm writes it, its text encoder as a BERT of its own."""
    depth = model.config.text.depth
    vision = to_original(Names(vision_layout(2, prefix="")), model.state_dict())
    layout = unimodal_layout(depth, "bidirectional", prefix="bert")
    text = to_original(Names(layout), model.state_dict())
    words = "bert.embeddings.word_embeddings.weight"
    text[words] = text[words][:-2].contiguous()
    folder.mkdir()
    (folder / "bert").mkdir()
    save_file(vision | {"head.weight": torch.zeros(5, 24)}, folder / "vit.safetensors")
    save_file(text, folder / "bert" / "model.safetensors")
    (folder / "bert" / "config.json").write_text("{}")
    return folder / "vit.safetensors", folder / "bert"


def donor(config: PretrainConfig) -> Blip:
    """A model of which no tensor is as it was initialised, biases and norms neither."""
    torch.manual_seed(99)
    model = Blip(config.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def close(state: dict[str, Tensor], other: dict[str, Tensor], name: str) -> bool:
    return torch.allclose(state[name], other[name], atol=1e-6)


def test_training_starts_from_both(
    config: PretrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = donor(config)
    vision, text = published(given, tmp_path / "published")
    config = override(config, ["--vision_weights", str(vision), "--text_weights", str(text)])
    out = pretrain.train(config, tmp_path / "run")
    printed = capsys.readouterr().err
    assert f"image encoder from {vision}" in printed
    assert (
        f"text transformer from {text}/model.safetensors; newly initialised: cross-attention, 2 "
        in printed
    )
    trained, start = load_model(out).model.state_dict(), given.state_dict()
    alike = {name for name in trained if name != "temperature" and close(trained, start, name)}
    assert {name for name in trained if name.startswith("vision.")} <= alike
    for name in trained:
        if name.startswith("text.") and ".cross_attention." not in name:
            own = name.replace(".causal.", ".bidirectional.")
            rows = -2 if name.endswith(".words.weight") else None
            torch.testing.assert_close(trained[name][:rows], start[own][:rows], atol=1e-6, rtol=0)
    words = "text.embedding.copies.both.words.weight"
    assert not torch.allclose(trained[words][-2:], start[words][-2:], atol=1e-3)
    cross = "text.layers.0.cross_attention.copies.both.read.query.weight"
    assert cross not in alike
    # The same command resumes: here there is nothing left to do.
    again = load_model(pretrain.train(config, tmp_path / "run")).model.state_dict()
    assert all(torch.equal(again[name], trained[name]) for name in trained)


def test_weights_of_one_part_leave_the_rest_as_initialised(
    config: PretrainConfig, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    vision, _ = published(donor(config), tmp_path / "published")
    runs = {}
    for name, weights in (("without", None), ("with", str(vision))):
        out = pretrain.train(replace(config, vision_weights=weights), tmp_path / name)
        runs[name] = load_model(out).model.state_dict()
    other = {name for name in runs["with"] if not close(runs["with"], runs["without"], name)}
    assert other == {name for name in runs["with"] if name.startswith("vision.")}


def test_momentum_encoders_start_from_the_same(
    config: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = donor(config)
    vision, text = published(given, tmp_path / "published")
    trainings = []
    monkeypatch.setattr(RunFolder, "train", lambda _, training, *__: trainings.append(training))
    config = replace(config, vision_weights=str(vision), text_weights=str(text))
    pretrain.train(config, tmp_path / "run")
    followed = trainings[0].model.state_dict()
    averaged = trainings[0].state.momentum_encoder.module.state_dict()
    assert averaged
    assert all(torch.equal(tensor, followed[name]) for name, tensor in averaged.items())
    loaded = {name for name in averaged if torch.equal(averaged[name], given.state_dict()[name])}
    assert {name for name in averaged if name.startswith("vision.")} < loaded
    assert "text.layers.1.mlp.copies.both.input.weight" in loaded


def test_a_whole_model_and_parts_of_one_exclude_each_other(
    config: PretrainConfig, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    (tmp_path / "whole").mkdir()
    save_model(Blip(config.model), tokenizer, tmp_path / "whole")
    started = replace(config, init=str(tmp_path / "whole"))
    assert pretrain.train(started, tmp_path / "run")
    for field in ("vision_weights", "text_weights"):
        with pytest.raises(ValueError, match=f"{field} is for a fresh model, and init"):
            replace(started, **{field: "some.safetensors"})
        with pytest.raises(UsageError, match=f"{field} is for a fresh model") as caught:
            override(started, [f"--{field}", "some.safetensors"])
        assert len(str(caught.value).splitlines()) == 1


def test_a_bert_of_other_words_is_refused(config: PretrainConfig, tmp_path: Path) -> None:
    _, text = published(donor(config), tmp_path / "published")
    words = list(Tokenizer.load(config.tokenizer).backend.get_vocab(with_added_tokens=True))
    result = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    others = [f"word{number}" for number in range(len(words) - len(result) - 2)]
    (text / "vocab.txt").write_text("\n".join(result + others) + "\n")
    config = replace(config, text_weights=str(text))
    with pytest.raises(UsageError, match=r"trained with the tokens of .*vocab\.txt") as caught:
        pretrain.train(config, tmp_path / "run")
    assert len(str(caught.value).splitlines()) == 1
    (text / "vocab.txt").unlink()
    Tokenizer.load(config.tokenizer).save(text)
    assert pretrain.train(config, tmp_path / "run")


def test_missing_weights_end_the_run_before_it_begins(
    config: PretrainConfig, tmp_path: Path
) -> None:
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(BlipError, match="truncated or not a safetensors file"):
        pretrain.train(
            replace(config, text_weights=str(tmp_path / "torn.safetensors")), tmp_path / "run"
        )
    for key in ("vision_weights", "text_weights"):
        with pytest.raises(UsageError, match=rf"^{key}: no checkpoint at absent\.pth"):
            pretrain.train(replace(config, **{key: "absent.pth"}), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_configurations_from_before_are_read() -> None:
    data = to_json(recipes.base())
    assert data.pop("vision_weights").startswith("hf:timm/")
    assert data.pop("text_weights") == "hf:google-bert/bert-base-uncased"
    read = from_json(PretrainConfig, data)
    assert read.vision_weights is None
    assert read.text_weights is None


def test_the_large_recipe_is_the_paper() -> None:
    config = recipes.large()
    assert (config.model.vision.width, config.model.vision.depth) == (1024, 24)
    assert config.model.vision.drop_path == pytest.approx(0.1)
    assert config.data.batch_size == 2400
    assert config.train.optimizer.lr == pytest.approx(2e-4)
    assert config.train.steps == 20 * 14_000_000 // 2400
    off = override(config, ["--vision_weights", "none", "--text_weights", "none"])
    assert (off.vision_weights, off.text_weights) == (None, None)


def test_what_is_loaded_learns_more_slowly_and_what_is_fresh_does_not(
    config: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vision, text = published(donor(config), tmp_path / "published")
    seen: list[Training[Blip]] = []
    monkeypatch.setattr(RunFolder, "train", lambda self, training, *_: seen.append(training))
    slow = replace(
        config, vision_weights=str(vision), text_weights=str(text), weights_lr_scale=0.25
    )
    pretrain.train(slow, tmp_path / "out")
    (training,) = seen
    names = {name for name, _ in training.step.named_parameters()}
    assert set(training.lr_scales.values()) == {0.25}
    assert training.lr_scales.keys() <= names
    fresh = names - training.lr_scales.keys()
    assert any(".self_attention." in name for name in training.lr_scales)
    assert {name for name in names if name.startswith("model.vision.")} <= training.lr_scales.keys()
    assert {name for name in names if ".cross_attention." in name} <= fresh
    with pytest.raises(UsageError, match=r"weights_lr_scale.* is 0\.25; allowed: 1\.0 without"):
        replace(config, weights_lr_scale=0.25)
