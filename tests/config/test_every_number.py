"""No configuration takes a number that its computation cannot: every field of every class."""

import dataclasses
import importlib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import blip
from blip.capfilt.config import CapFiltConfig, RecutConfig
from blip.config.strict import from_json, to_json
from blip.data.config import Collection
from blip.errors import UsageError
from blip.evaluation.config import DialogueValidationConfig, EvaluateConfig, HeldOutConfig
from blip.recipes import bootstrap, captioner, filter, nlvr, pretrain, visdial, vqa
from blip.recipes.config import BootstrapConfig, ShardsConfig
from blip.serve.config import ServiceConfig
from blip.tasks.config import PretrainConfig, TokenizerConfig

SOURCE = Path(blip.__file__).parent
NAN = float("nan")
WRONG = {int: [-(10**30), 10**30], float: [float("nan"), float("inf"), -float("inf"), -1e30]}
"""Finite rates may be as large as they want, where nothing breaks."""


def parts(config: Any) -> Iterator[Any]:
    """A configuration and the configurations within it."""
    yield config
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for element in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(element):
                yield from parts(element)


WHOLE = [
    bootstrap.scenes_demo(),
    pretrain.base_14m(),
    captioner.coco(),
    filter.coco(),
    vqa.vqa_v2_train(),
    nlvr.nlvr2(),
    visdial.visdial(),
    DialogueValidationConfig(shards=("s",)),
    CapFiltConfig(captioner="c", filter="f", data=("d",), out="o", engine="ray"),
    RecutConfig(ledger="l", out="o"),
    ShardsConfig(human=("h",), web=("w",), val=("v",), test=("t",)),
    EvaluateConfig(checkpoint="c", data=("d",)),
    Collection(source="s"),
    HeldOutConfig(shards=("s",)),
    ServiceConfig(),
    TokenizerConfig(source=None, texts=("t",), vocabulary_size=100),
]
EXAMPLES = {type(part): part for config in WHOLE for part in parts(config)}


def numbers_of(hint: Any) -> set[type]:
    if hint in (int, float):
        return {hint}
    return {kind for part in typing.get_args(hint) for kind in numbers_of(part)}


def numeric_fields() -> list[tuple[type, str]]:
    return [
        (cls, field.name)
        for cls in EXAMPLES
        for field in dataclasses.fields(cls)
        if numbers_of(typing.get_type_hints(cls)[field.name])
    ]


def with_number(value: Any, hint: Any, number: float) -> Any:
    """The value of a field with `number` in the place of a number in it."""
    if isinstance(value, tuple):
        return (*value[:-1], number)
    if isinstance(value, dict):
        return {**value, next(iter(value)): number}
    return number


def test_every_configuration_with_a_number_has_an_example():
    found = set()
    for path in SOURCE.rglob("config.py"):
        name = ".".join(["blip", *path.relative_to(SOURCE).with_suffix("").parts])
        module = importlib.import_module(name)
        found |= {
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and dataclasses.is_dataclass(value)
            and value.__module__ == name
            and any(map(numbers_of, typing.get_type_hints(value).values()))
        }
    assert found <= set(EXAMPLES)


@pytest.mark.parametrize(("cls", "name"), numeric_fields(), ids=lambda part: str(part))
def test_every_number_has_a_range(cls, name):
    example = EXAMPLES[cls]
    hint = typing.get_type_hints(cls)[name]
    for number in (number for kind in numbers_of(hint) for number in WRONG[kind]):
        with pytest.raises(ValueError, match=name) as caught:
            dataclasses.replace(
                example, **{name: with_number(getattr(example, name), hint, number)}
            )
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", WHOLE, ids=lambda config: type(config).__name__)
def test_the_examples_come_back_from_json(config):
    assert from_json(type(config), to_json(config)) == config


@pytest.mark.parametrize(
    ("cls", "changes", "message"),
    [
        (PretrainConfig, {"train": {"optimizer": {"lr": NAN}}}, "`train.optimizer.lr` is nan"),
        (PretrainConfig, {"data": {"batch_size": 0}}, "`data.batch_size` is 0"),
        (BootstrapConfig, {"human_weight": 0}, "`human_weight` is 0.0"),
        (BootstrapConfig, {"pretrain": {"device": "foo"}}, "`pretrain.device` is 'foo'"),
        (BootstrapConfig, {"threshold": 10**400}, "threshold takes a number"),
        (PretrainConfig, {"data": {"max_tokens": 600}}, "`data.max_tokens` is 600; .* 512"),
        (BootstrapConfig, {"max_tokens": 41}, "`max_tokens` is 41; .* 40"),
        (BootstrapConfig, {"captioning": {"max_length": 41}}, "`captioning.max_length` is 41;"),
        (BootstrapConfig, {"synthesis": {"max_length": 41}}, "`synthesis.max_length` is 41; .* 40"),
    ],
)  # fmt: skip
def test_the_message_names_the_whole_key(cls, changes, message):
    data = to_json(next(config for config in WHOLE if type(config) is cls))

    def put(place, more):
        for name, value in more.items():
            put(place[name], value) if isinstance(value, dict) else place.update({name: value})

    put(data, changes)
    with pytest.raises(UsageError, match=message):
        from_json(cls, data)
