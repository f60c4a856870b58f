"""The stages of the main job before they are run: their inputs, weights, settings and device."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from blip.bootstrap import _Bootstrap, _fingerprint_named
from blip.capfilt.config import CapFiltConfig
from blip.capfilt.filters.config import FilterRules
from blip.config.override import override
from blip.config.strict import to_json
from blip.data.scenes.write import SPLITS
from blip.data.tokenizer import Tokenizer
from blip.errors import UsageError
from blip.evaluation.config import EvaluateConfig
from blip.jobs import Job
from blip.recipes.bootstrap import scenes_test
from blip.stage import Stage
from blip.tasks.config import CaptionerConfig, PretrainConfig


def test_the_content_of_a_tokenizer_is_an_input_of_every_stage(tmp_path: Path) -> None:
    words = tmp_path / "words" / "tokenizer.json"
    words.parent.mkdir()
    inputs = []
    for text in ("a red circle", "a red circle", "blue stars"):
        Tokenizer.train([text], vocabulary_size=60).save(words.parent)
        job = _Bootstrap(
            replace(scenes_test(), tokenizer=str(words.parent)), tmp_path / str(len(inputs))
        )
        job.data_inputs, job.splits = "data", {name: (f"{name}.tar",) for name in SPLITS}
        job._prepare_tokenizer()
        inputs.append([stage.fingerprint for stage in (job.stages[0], job.baseline(job.stages[0]))])
    assert inputs[0] == inputs[1]
    assert not set(inputs[1]) & set(inputs[2])
    assert _fingerprint_named("org/name") == "org/name"


def test_a_fresh_model_starts_from_weights_and_the_tokens_beside_them(tmp_path: Path) -> None:
    vision, text = tmp_path / "vit.safetensors", tmp_path / "bert" / "model.safetensors"
    text.parent.mkdir()
    Tokenizer.train(["a red circle"], vocabulary_size=60).save(text.parent)
    fingerprints = []
    for content in ("one", "two"):
        vision.write_text(content)
        text.write_text("text")
        config = replace(
            scenes_test(),
            vision_weights=str(vision),
            text_weights=str(text),
            weights_lr_scale=0.5,
            rounds=1,
        )
        job = _Bootstrap(config, tmp_path / content)
        job.data_inputs, job.splits = "data", {name: (f"{name}.tar",) for name in SPLITS}
        job._prepare_tokenizer()
        assert job.vocabulary_size == Tokenizer.load(text.parent).vocabulary_size
        first = job.pretrain(1, cleaned=None, init=None)
        made, later = (
            stage.work.config
            for stage in (first, job.baseline(first))
            if isinstance(stage.work, Job) and isinstance(stage.work.config, PretrainConfig)
        )
        assert (made.vision_weights, made.text_weights) == (str(vision), str(text))
        assert (made.weights_lr_scale, later.weights_lr_scale) == (0.5, 1.0)
        assert (later.vision_weights, later.text_weights) == (None, None)
        fingerprints.append(first.fingerprint)
    assert len(set(fingerprints)) == 2
    (text.parent / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match=r"neither tokenizer\.json nor vocab\.txt beside"):
        job._prepare_tokenizer()
    with pytest.raises(ValueError, match="weights_lr_scale"):
        replace(scenes_test(), weights_lr_scale=0.5)


def test_rules_of_capfilt_are_those_of_the_configuration(tmp_path: Path) -> None:
    plain = scenes_test()
    ruled = override(plain, ["--rules.min_itc", "0.3", "--rules.keep", "best-1"])
    stages = list[Stage]()
    for config in (plain, ruled):
        job = _Bootstrap(config, tmp_path / "run")
        job.data_inputs, job.splits = "data", {name: (f"{name}.tar",) for name in SPLITS}
        job.vocabulary_size = 60
        model = job.pretrain(1, cleaned=None, init=None)
        stages.append(job.capfilt(1, job.captioner(1, model), job.filter(1, model)))
    found = [stage.work.config for stage in stages if isinstance(stage.work, Job)]
    rules = [config.rules for config in found if isinstance(config, CapFiltConfig)]
    assert rules == [FilterRules(), FilterRules(min_itc=0.3, keep="best-1")]
    assert stages[0].fingerprint != stages[1].fingerprint
    # A folder of a version that had no rules, and compiled nothing, is known again.
    assert "rules" not in to_json(plain, for_fingerprint=True)
    assert "compile" not in stages[0].inputs[0]


def test_a_captioner_is_validated_without_the_prompt_of_the_evaluation(tmp_path: Path) -> None:
    """It is trained without one; another prompt would end the run after its pre-training."""
    recipe = scenes_test()
    config = replace(
        recipe,
        captioner=replace(recipe.captioner, evaluate_every=1),
        captioning=replace(recipe.captioning, prompt="a picture of "),
    )
    job = _Bootstrap(config, tmp_path)
    job.data_inputs, job.splits = "data", {name: (f"{name}.tar",) for name in SPLITS}
    job.vocabulary_size = 100
    work = job.captioner(1, job.pretrain(1, cleaned=None, init=None)).work
    assert isinstance(work, Job)
    assert isinstance(work.config, CaptionerConfig)
    assert work.config.validation is not None
    assert work.config.validation.decoding == recipe.captioning


@pytest.mark.parametrize("init", ["previous", "fresh"])
def test_models_are_measured_on_the_device_and_in_the_format_of_the_run(
    tmp_path: Path, init: Literal["previous", "fresh"]
) -> None:
    def evaluation_of(device: str, precision: Literal["float32", "bfloat16"]) -> Stage:
        recipe = scenes_test()
        budget = replace(recipe.next_pretrain, device=device, precision=precision)
        config = replace(recipe, pretrain=budget, next_pretrain=budget, init=init)
        job = _Bootstrap(config, tmp_path)
        job.data_inputs, job.splits = "data", {name: (f"{name}.tar",) for name in SPLITS}
        job.vocabulary_size = 100
        first = job.pretrain(1, cleaned=None, init=None)
        return job.evaluation(job.baseline(first))

    stages = [
        evaluation_of(*given)
        for given in (("cuda:1", "bfloat16"), ("cpu", "bfloat16"), ("cpu", "float32"))
    ]
    configs = [stage.work.config for stage in stages if isinstance(stage.work, Job)]
    assert [(c.device, c.precision) for c in configs if isinstance(c, EvaluateConfig)] == [
        ("cuda:1", "bfloat16"),
        ("cpu", "bfloat16"),
        ("cpu", "float32"),
    ]
    # The same weights elsewhere are measured alike; weights of another format are others.
    assert stages[0].fingerprint == stages[1].fingerprint != stages[2].fingerprint
