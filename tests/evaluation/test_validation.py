"""Validation under way: true figures of the live model, and no trace in the training."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from blip.config.ranges import RangeError
from blip.config.strict import from_json, to_json
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.tokenizer import Tokenizer
from blip.errors import UsageError
from blip.evaluation.config import RetrievalEvaluationConfig, ValidationConfig
from blip.evaluation.retrieval import evaluate_retrieval
from blip.evaluation.sheet import MARGIN, SIDE, SheetRow, _font, draw_sheet, wrapped
from blip.evaluation.validation import Validation
from blip.generation.config import DecodingConfig
from blip.inference.captioner import Captioner
from blip.inference.checkpoint import load_model, save_model
from blip.model.blip import Blip
from blip.objectives.config import ContrastiveConfig
from blip.tasks import caption, pretrain, retrieval
from blip.tasks.config import CaptionerConfig, FilterConfig, PretrainConfig
from blip.tasks.run import RunFolder
from blip.train.config import OptimizerConfig, TrainConfig
from tests.support.tiny import TINY


@pytest.fixture
def model(tokenizer: Tokenizer) -> Blip:
    torch.manual_seed(0)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size, dropout=0.5)
    return Blip(replace(TINY, text=text)).train()


@pytest.fixture
def config(shards: Path) -> ValidationConfig:
    return ValidationConfig(
        shards=(str(shards),),
        images=9,
        retrieval=RetrievalEvaluationConfig(candidates=4),
        samples=3,
        decoding=DecodingConfig(kind="nucleus", max_length=8),
    )


def test_a_prompt_that_leaves_no_room_for_a_text_is_refused_before_the_training(
    model: Blip, tokenizer: Tokenizer, config: ValidationConfig
) -> None:
    decoding = DecodingConfig(max_length=8, prompt="a red circle and blue square near one")
    room = r"; validation\.decoding\.max_length must be greater, got 8"
    with pytest.raises(UsageError, match=room):
        Validation(model, tokenizer, replace(config, decoding=decoding))
    # A captioner is measured by its captions, whether or not some are drawn.
    with pytest.raises(UsageError, match=room):
        Validation(model, tokenizer, replace(config, decoding=decoding, samples=0))


def test_captions_longer_than_the_positions_are_refused_by_the_key_that_holds_them(
    model: Blip, tokenizer: Tokenizer, config: ValidationConfig
) -> None:
    too_long = replace(config, decoding=DecodingConfig(max_length=1000))
    with pytest.raises(RangeError, match=r"^`validation\.decoding\.max_length` is 1000; allowed: "):
        Validation(model, tokenizer, too_long)


@pytest.mark.parametrize(("size", "batches"), [(2, [2, 2, 1]), (None, [3, 2])])
def test_so_many_images_are_captioned_together(
    model: Blip,
    tokenizer: Tokenizer,
    config: ValidationConfig,
    size: int | None,
    batches: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts, encode = list[int](), Blip.encode_image

    def record(self: Blip, images: torch.Tensor) -> torch.Tensor:
        counts.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(Blip, "encode_image", record)
    retrieval = replace(config.retrieval, batch_size=3)
    chosen = replace(config, batch_size=size, retrieval=retrieval)
    Validation(model, tokenizer, chosen).captions(range(5))
    assert counts == batches
    # Folders of runs that were made before the key was there keep their fingerprint.
    kept = to_json(replace(config, batch_size=None), for_fingerprint=True)
    assert "batch_size" not in kept
    assert from_json(ValidationConfig, kept) == config


def test_figures_are_those_of_a_model_that_was_saved_and_opened(
    model: Blip, tokenizer: Tokenizer, config: ValidationConfig, tmp_path: Path
) -> None:
    validation = Validation(model, tokenizer, config)
    before = validation.captions(range(3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    save_model(model, tokenizer, tmp_path)
    loaded = load_model(tmp_path)
    data = EvaluationSet(config.shards, 32, most=9)
    assert len(data) == 9
    expected = evaluate_retrieval(loaded.model, tokenizer, data, config.retrieval)
    found = validation.recalls()
    assert found == {f"validation_{name}": value for name, value in expected.items()}
    captions = validation.captions(range(3))
    written = Captioner(loaded.model, tokenizer).caption(
        list(data.images(0, 3)), config.decoding, seeds=range(3)
    )
    assert captions == written
    assert captions != before


def test_the_model_and_the_random_state_are_left_as_they_were(
    model: Blip, tokenizer: Tokenizer, config: ValidationConfig
) -> None:
    validation = Validation(model, tokenizer, config)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    validation.recalls()
    validation.sheet()
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()
    assert all(module.training for module in model.modules())
    assert not any(getattr(module, "packed", None) for module in model.modules())
    model.eval()
    validation.recalls()
    assert not model.training


def test_a_run_with_validation_ends_with_the_same_weights(
    model: Blip, tokenizer: Tokenizer, config: ValidationConfig, shards: Path, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path)
    train = TrainConfig(
        steps=4, optimizer=OptimizerConfig(lr=1e-2, warmup_steps=1), log_every=2, device="cpu"
    )
    plain = PretrainConfig(
        model=model.config,
        tokenizer=str(tmp_path),
        data=DataConfig(
            sources=(SourceConfig(name="all", shards=(str(shards),)),),
            batch_size=6,
            image=ImageConfig(size=32),
        ),
        train=train,
        contrastive=ContrastiveConfig(queue_size=12),
    )
    judged = replace(plain, train=replace(train, evaluate_every=1), validation=config)
    weights = [
        load_model(pretrain.train(given, tmp_path / name)).model.state_dict()
        for name, given in (("plain", plain), ("judged", judged))
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    log = (tmp_path / "judged/metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in log]
    assert [line["step"] for line in lines if "validation_tr1" in line] == [1, 2, 3, 4]


@pytest.mark.parametrize("task", [caption, retrieval])
def test_a_fine_tuned_model_is_measured_on_the_way_too(
    model: Blip,
    tokenizer: Tokenizer,
    config: ValidationConfig,
    shards: Path,
    tmp_path: Path,
    task: ModuleType,
) -> None:
    save_model(model, tokenizer, tmp_path)
    plain = {caption: CaptionerConfig, retrieval: FilterConfig}[task](
        init=str(tmp_path),
        data=DataConfig(
            sources=(SourceConfig(name="all", shards=(str(shards),)),),
            batch_size=6,
            image=ImageConfig(size=32),
        ),
        train=TrainConfig(steps=2, optimizer=OptimizerConfig(warmup_steps=1), device="cpu"),
    )
    measured = replace(
        plain, train=replace(plain.train, evaluate_every=1), validation=replace(config, samples=2)
    )
    weights = [
        load_model(task.train(given, tmp_path / name)).model.state_dict()
        for name, given in (("plain", plain), ("measured", measured))
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    log = (tmp_path / "measured/metrics.jsonl").read_text().splitlines()
    figures = [{name for name in json.loads(line) if name.startswith("val")} for line in log]
    expected = {
        caption: {"cider", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l"},
        retrieval: {"tr1", "tr5", "tr10", "ir1", "ir5", "ir10"},
    }
    assert figures == [{f"validation_{name}" for name in expected[task]}] * 2
    # A filter writes no captions.
    assert (tmp_path / "measured/samples").exists() == (task is caption)


def test_a_captioner_is_measured_with_the_prompt_that_it_learns(
    model: Blip,
    tokenizer: Tokenizer,
    config: ValidationConfig,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_model(model, tokenizer, tmp_path)
    sources = (SourceConfig(name="all", shards=(str(shards),)),)
    captioner = CaptionerConfig(
        init=str(tmp_path),
        data=DataConfig(sources=sources, batch_size=2, prompt="a red ", image=ImageConfig(size=32)),
        train=TrainConfig(steps=1, evaluate_every=1),
        validation=config,
    )
    trainings = []
    monkeypatch.setattr(RunFolder, "train", lambda _, training, *__: trainings.append(training))
    caption.train(captioner, tmp_path / "run")
    assert trainings[0].evaluator.__self__.config.decoding.prompt == "a red "
    same = replace(config, decoding=DecodingConfig(prompt="a red "))
    assert replace(captioner, validation=same).prompted_validation == same
    with pytest.raises(ValueError, match=r"must be empty or data\.prompt 'a red ', got 'a'"):
        replace(captioner, validation=replace(same, decoding=DecodingConfig(prompt="a")))


def test_the_sheet_shows_pictures_beside_texts() -> None:
    rows = [
        SheetRow(Image.new("RGB", (300, 150), "red"), "a red wall", "a wall that is red"),
        SheetRow(Image.new("L", (10, 40)), "", "\uadf8\ub9bc \u2026 " + "x" * 500),
    ]
    sheet = draw_sheet(rows)
    assert sheet.height == 2 * (SIDE + MARGIN) + MARGIN
    assert sheet.getpixel((MARGIN + SIDE - 1, MARGIN + 5)) == (255, 0, 0)
    assert sheet.getpixel((MARGIN + 5, MARGIN + SIDE - 5)) == (255, 255, 255)
    texts = np.asarray(sheet)[:, SIDE + 2 * MARGIN : -MARGIN]
    for top in (MARGIN, 2 * MARGIN + SIDE):
        assert (texts[top : top + SIDE] < 200).any()
    assert (np.asarray(sheet)[:, -MARGIN:] == 255).all()


def test_lines_hold_all_words_and_are_at_most_as_wide_as_asked() -> None:
    font = _font()
    assert isinstance(font, ImageFont.FreeTypeFont)
    text = "a green cross and two small yellow rings left of it on a pink ground"
    lines = wrapped(text, font, 120)
    assert len(lines) > 3
    assert " ".join(lines) == text
    assert all(font.getlength(line) <= 120 for line in lines)


def test_without_samples_nothing_is_drawn(
    model: Blip, tokenizer: Tokenizer, config: ValidationConfig
) -> None:
    assert Validation(model, tokenizer, replace(config, samples=0)).sheet() is None
    # More samples than images: as many as there are.
    many = Validation(model, tokenizer, replace(config, samples=99))
    assert many.sheet().height == 9 * (SIDE + MARGIN) + MARGIN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shards": ()}, "at least one shard"),
        ({"images": 1}, "`images` is 1; allowed: a whole number from 2 "),
        ({"samples": -1}, "`samples` is -1; allowed: a whole number from 0 "),
    ],
)
def test_what_cannot_be_judged_is_refused(
    config: ValidationConfig, change: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **change)


def test_missing_shards_are_reported(
    model: Blip, tokenizer: Tokenizer, config: ValidationConfig
) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        Validation(model, tokenizer, replace(config, shards=("nowhere",)))


def test_a_model_that_gives_nan_is_reported_and_training_continues(
    model: Blip,
    tokenizer: Tokenizer,
    config: ValidationConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    validation = Validation(model, tokenizer, config)
    torch.nn.init.constant_(model.vision.norm.weight, 3e38)
    assert validation.recalls() == {}
    assert validation.captions(range(3)) == []
    assert validation.sheet() is None
    assert model.training
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("validation: the model")
    begun = f"validation: in the batch that begins with {validation.data.keys[0]}: picture 1: the "
    assert all(line.startswith(f"{begun}model gave logits") for line in lines[1:])
