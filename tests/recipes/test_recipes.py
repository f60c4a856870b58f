"""Every recipe is complete, survives the way to JSON and back, and loads no torch."""

import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import pytest

from blip.cli.recipe import recipe_names
from blip.config.override import override
from blip.config.strict import from_json, to_json
from blip.data.scenes.config import ScenesConfig
from blip.errors import UsageError
from blip.model.blip import Blip
from blip.recipes import bootstrap, captioner, filter, from_weights, nlvr, pretrain, vqa
from blip.recipes.config import BootstrapConfig, ShardsConfig
from blip.tasks.table import TASKS

RECIPES = [
    (function, cls)
    for module, cls in (
        (bootstrap, BootstrapConfig),
        *((import_module(f"blip.recipes.{task.name}"), task.config) for task in TASKS),
    )
    for function in (
        getattr(module, name) for name in recipe_names(module.__name__.rpartition(".")[2])
    )
]


@pytest.mark.parametrize(("recipe", "cls"), RECIPES, ids=lambda value: value.__name__)
def test_to_json_and_back(recipe, cls) -> None:
    config = recipe()
    assert isinstance(config, cls)
    assert from_json(cls, to_json(config)) == config


@pytest.mark.parametrize("name", from_weights.RECIPES)
def test_the_form_for_weights_to_json_and_back(name: str) -> None:
    config = from_weights.RECIPES[name]("vit.pth", None)
    assert from_json(BootstrapConfig, to_json(config)) == config
    assert name in recipe_names("bootstrap")
    assert config.vision_weights == "vit.pth"


def test_names() -> None:
    assert set(recipe_names("bootstrap")) == {"scenes_demo", "scenes_test", "flickr8k"}
    assert all(recipe_names("bootstrap").values())
    assert set(recipe_names("pretrain")) == {
        *("base", "large"),
        *("base_14m", "base_129m", "large_129m"),
    }
    flickr = {"flickr30k", "flickr8k"}
    assert set(recipe_names("captioner")) == {"coco", "coco_large"} | flickr
    assert set(recipe_names("filter")) == {"coco", "coco_large", "flickr30k_large"} | flickr


def test_recipes_load_no_torch() -> None:
    code = (
        "import sys, blip.recipes.bootstrap as b, blip.recipes.pretrain as p\n"
        "import blip.recipes.captioner as c, blip.recipes.filter as f\n"
        "b.scenes_demo(), b.flickr8k(), p.base(), p.large_129m(), c.coco(), f.coco_large()\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_built_in_recipes_are_as_small_as_they_say() -> None:
    def millions(config: BootstrapConfig) -> float:
        text = replace(config.model.text, vocabulary_size=config.vocabulary_size)
        model = Blip(replace(config.model, text=text))
        return sum(parameter.numel() for parameter in model.parameters()) / 1e6

    assert millions(bootstrap.scenes_test()) < 0.05
    assert millions(bootstrap.scenes_demo()) < 2.0


def test_base_is_the_paper() -> None:
    config = pretrain.base()
    assert config.train.optimizer.lr == pytest.approx(3e-4)
    assert (config.train.optimizer.warmup_steps, config.train.optimizer.epoch_decay) == (3000, 0.9)
    assert (config.data.batch_size, config.data.max_tokens, config.data.image.size) == (
        2880,
        30,
        224,
    )
    assert (config.contrastive.queue_size, config.contrastive.alpha) == (57_600, 0.4)


def test_the_paper_s_data() -> None:
    """Epochs of all pairs and a fifth of LAION; twenty of them in batches of 2880 and 2400."""
    for recipe, epoch, size in (
        (pretrain.base_14m(), 15_195_000, 2880),
        (pretrain.base_129m(), 15_195_000 + 23_000_000, 2880),
        (pretrain.large_129m(), 15_195_000 + 23_000_000, 2400),
    ):
        assert recipe.data.batch_size == size
        assert recipe.train.steps == 20 * epoch // size
        weights = {source.name: source.weight for source in recipe.data.sources}
        assert weights.pop("laion", 0.2) == 0.2
        assert weights == {"coco": 5.0, "vg": 7.7, "sbu": 1.0, "cc3m": 1.0, "cc12m": 1.0}
        assert recipe.data.stream == "always"
        assert recipe.validation is not None
    large = pretrain.large_129m()
    assert (large.model.vision.depth, large.model.vision.drop_path) == (24, 0.1)
    assert large.train.optimizer.lr == pytest.approx(2e-4)
    assert large.vision_weights is not None
    assert "large" in large.vision_weights


def test_fine_tuning_is_the_paper_s() -> None:
    for config, epochs, rates in (
        ((captioner.coco(), captioner.coco_large()), 5, (1e-5, 2e-6)),
        ((filter.coco(), filter.coco_large()), 6, (1e-5, 5e-6)),
    ):
        for one, rate in zip(config, rates, strict=True):
            assert one.data.image.size == 384
            assert one.train.optimizer.lr == pytest.approx(rate)
            assert one.train.steps * one.data.batch_size == pytest.approx(
                epochs * 566_747, rel=1e-4
            )
    for small, captions in ((filter.flickr30k(), 145_000), (filter.flickr8k(), 30_000)):
        assert small.train.steps * small.data.batch_size == pytest.approx(6 * captions, rel=2e-3)
        assert small.data.max_tokens == 35
    assert filter.flickr30k_large().train.optimizer.lr == pytest.approx(5e-6)
    assert captioner.coco().data.prompt == "a picture of "
    assert filter.coco().data.prompt == ""
    assert filter.coco().contrastive.positives == "image"
    for config, questions in ((vqa.vqa_v2(), 1_385_043), (vqa.vqa_v2_train(), 443_757)):
        assert (config.data.image.size, config.data.max_tokens) == (480, 35)
        assert (config.drop_path, config.train.optimizer.lr) == (0.1, pytest.approx(2e-5))
        assert config.train.steps * config.data.batch_size == pytest.approx(
            10 * questions, rel=1e-4
        )
    pairs = nlvr.nlvr2()
    assert (pairs.data.image.size, pairs.data.batch_size, pairs.swap) == (384, 256, True)
    assert (pairs.drop_path, pairs.train.optimizer.lr) == (0.1, pytest.approx(3e-5))
    assert pairs.train.steps * 256 == pytest.approx(15 * 86_373, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rounds": 0}, "rounds"),
        ({"parallel": 0}, "parallel"),
        ({"batch_size": 0}, "batch_size"),
        ({"threshold": 1.5}, "threshold"),
        ({"captions": -1}, "captions"),
        ({"human_weight": -1.0}, "human_weight"),
    ],
)
def test_impossible_values_are_named(change: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace(bootstrap.scenes_test(), **change)


def test_pictures_have_the_size_of_the_model() -> None:
    config = bootstrap.scenes_test()
    with pytest.raises(ValueError, match=r"image\.size must be .* 48, got 32"):
        replace(config, image=replace(config.image, size=32))


def test_the_kind_of_data_follows_from_its_keys() -> None:
    given = from_json(
        BootstrapConfig,
        to_json(bootstrap.scenes_test())
        | {"data": {"human": ["a"], "web": ["b"], "val": ["c"], "test": ["d"]}},
    )
    assert given.data == ShardsConfig(human=("a",), web=("b",), val=("c",), test=("d",))
    assert isinstance(bootstrap.scenes_test().data, ScenesConfig)
    with pytest.raises(UsageError, match="human must name at least one shard"):
        override(bootstrap.flickr8k(), ["--data.human", "[]"])
    with pytest.raises(UsageError, match="noise"):
        override(bootstrap.flickr8k(), ["--data.noise", "0.5"])
