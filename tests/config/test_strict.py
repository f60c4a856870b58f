"""Strict configurations: what fits comes back the same, what does not ends in one clear line."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blip.config.history import find_changes, load_history, save_with_history, without
from blip.config.override import describe, override
from blip.config.strict import added, formerly, from_json, load_json, save, to_json
from blip.errors import UsageError
from blip.recipes.bootstrap import flickr8k, scenes_demo, scenes_test
from blip.recipes.config import BootstrapConfig
from blip.recipes.pretrain import base
from blip.tasks.config import PretrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part."""

    rate: float = 0.5
    """How fast."""
    kind: Literal["red", "blue"] = "red"

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate must not be negative, got {self.rate}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Other:
    weight: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    steps: int
    name: str | None = None
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] = (0.0, 1.0)
    part: Part = Part()
    either: Part | Other = Part()
    on: bool = True
    shares: dict[str, float] | None = None


parts = st.builds(
    Part, rate=st.floats(0, 1e6, allow_nan=False), kind=st.sampled_from(["red", "blue"])
)
wholes = st.builds(
    Whole,
    steps=st.integers(),
    name=st.none() | st.text(),
    sizes=st.lists(st.integers()).map(tuple),
    pair=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    part=parts,
    either=parts | st.builds(Other, weight=st.integers()),
    on=st.booleans(),
    shares=st.none() | st.dictionaries(st.text(), st.floats(0, 1)),
)


@given(config=wholes)
def test_round_trip(config: Whole) -> None:
    assert from_json(Whole, to_json(config)) == config


@pytest.mark.parametrize("config", [scenes_demo(), scenes_test(), flickr8k(), base()])
def test_every_recipe_goes_through_a_file(config: object, tmp_path: Path) -> None:
    save(config, tmp_path / "config.json")
    assert from_json(type(config), load_json(tmp_path / "config.json")) == config


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"stps": 3}, "unknown key `stps` (did you mean `steps`?)"),
        ({"steps": 3, "part": {"rat": 1}}, "unknown key `part.rat` (did you mean `part.rate`?)"),
        ({}, "steps is missing; it takes an integer"),
        ({"steps": "many"}, 'steps takes an integer, got "many"'),
        ({"steps": True}, "steps takes an integer, got true"),
        ({"steps": 1.5}, "steps takes an integer, got 1.5"),
        ({"steps": 1, "on": 1}, "on takes true or false, got 1"),
        ({"steps": 1, "name": 5}, "name takes a text or none, got 5"),
        ({"steps": 1, "sizes": [1, "x"]}, 'sizes.1 takes an integer, got "x"'),
        ({"steps": 1, "pair": [1]}, "pair takes a list of 2 (a number, a number), got [1]"),
        ({"steps": 1, "part": {"kind": "green"}}, 'part.kind takes one of red, blue, got "green"'),
        ({"steps": 1, "part": {"rate": -1}}, "part: rate must not be negative, got -1.0"),
        ({"steps": 1, "part": 3}, "part takes an object, got 3"),
        ({"steps": 1, "sizes": 3}, "sizes takes a list of integers, got 3"),
        ([], "the configuration takes an object, got []"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(data: dict, message: str) -> None:
    with pytest.raises(UsageError) as error:
        from_json(Whole, data)
    assert str(error.value) == message


def test_overrides_change_values_by_their_types() -> None:
    config = override(
        Whole(steps=1),
        ["--steps", "5", "--part.rate=2", "--part.kind", "blue", "--sizes", "3,4", "--on", "false"],
    )
    assert config == Whole(steps=5, part=Part(rate=2.0, kind="blue"), sizes=(3, 4), on=False)
    assert override(replace(config, name="x"), ["--name", "none"]).name is None
    assert override(config, ["--pair", "[1, 2]"]).pair == (1.0, 2.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stepz", "5"], "unknown key `stepz` (did you mean `steps`?)"),
        (["--part.rat", "5"], "unknown key `part.rat` (did you mean `part.rate`?)"),
        (["--steps"], "--steps needs a value"),
        (["steps", "5"], "unexpected argument 'steps'; --part.field VALUE changes a value"),
        (["--steps", "x"], 'steps takes an integer, got "x"'),
        (["--part.rate", "-2"], "part: rate must not be negative, got -2.0"),
    ],
)
def test_wrong_overrides_are_said_in_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        override(Whole(steps=1), arguments)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "on"),
    [
        (["--on"], True),
        (["--on", "FALSE", "--steps", "1"], False),
        (["--on=false"], False),
        (["--no-on"], False),
        (["--no_on", "--steps", "1"], False),
    ],
)
def test_a_flag_needs_no_value(arguments: list[str], on: bool) -> None:
    assert override(Whole(steps=1, on=not on), arguments) == Whole(steps=1, on=on)


def test_flags_lists_and_hyphens_of_a_real_configuration() -> None:
    given = ["--train.compile", "--data.sources.0.shards", "x/*.tar,y.tar", "--data.batch-size=8"]
    config = override(base(), given)
    assert config.train.compile
    assert config.data.sources[0].shards == ("x/*.tar", "y.tar")
    assert config.data.batch_size == 8
    for off in ("--no-train.compile", "--train.no-compile"):
        assert override(config, [off]) == override(config, ["--train.compile", "false"])
    assert not override(base(), ["--data.image.no-flip"]).data.image.flip


def test_texts_of_the_command_line_are_read_by_the_type_of_their_field() -> None:
    config = override(Whole(steps=1), ["--name", "2024", "--part.rate", ".5", "--pair", "1,2"])
    assert (config.name, config.part.rate, config.pair) == ("2024", 0.5, (1.0, 2.0))
    for number in ("1_0", "\u0663", "0x10", "1e3"):
        with pytest.raises(UsageError, match="steps takes an integer"):
            override(config, ["--steps", number])


def test_a_part_that_is_given_in_part_keeps_the_rest_of_its_default() -> None:
    @dataclass(frozen=True)
    class Outer:
        part: Part = Part(rate=7.0, kind="blue")

    assert from_json(Outer, {"part": {"rate": 1}}).part == Part(rate=1.0, kind="blue")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(UsageError, match=r"config\.json is not JSON"):
        load_json(path)
    with pytest.raises(UsageError, match="No such file"):
        load_json(tmp_path / "none.json")


def test_describe_names_keys_values_and_meanings() -> None:
    text = describe(Whole(steps=1))
    assert "--part.rate 0.5  (a number)  How fast." in text
    assert "--steps 1  (an integer)" in text


def test_the_kind_of_data_follows_from_its_keys() -> None:
    demo, photos = to_json(scenes_demo()), to_json(flickr8k())
    assert from_json(BootstrapConfig, demo) == scenes_demo()
    assert from_json(BootstrapConfig, photos) == flickr8k()
    with pytest.raises(
        UsageError, match=r"^unknown key `data\.nois` \(did you mean `data\.noise`\?\)"
    ):
        from_json(BootstrapConfig, demo | {"data": demo["data"] | {"nois": 1}})


def test_pretrain_recipe_has_the_papers_figures() -> None:
    config = base()
    assert isinstance(config, PretrainConfig)
    assert config.data.batch_size == 2880
    assert config.train.optimizer.lr == 3e-4
    assert config.contrastive.queue_size == 57_600


def test_a_part_that_was_none_is_made_of_its_keys() -> None:
    given = ["--validation.shards", "a,b", "--validation.samples", "2"]
    config = override(base(), [*given, "--train.evaluate_every", "5"])
    assert config.validation is not None
    assert (config.validation.shards, config.validation.samples) == (("a", "b"), 2)
    one = override(base(), ["--validation.shards=a", "--train.evaluate_every", "5"])
    assert one.validation is not None
    assert one.validation.shards == ("a",)
    gone = ["--validation", "none", "--train.evaluate_every", "none"]
    assert override(config, gone) == base()


@pytest.mark.parametrize(
    ("arguments", "sources"),
    [
        (["--data.sources", "shards/coco-train"], [("coco-train", ("shards/coco-train",), 1.0)]),
        (["--data.sources", "web/*.tar"], [("web", ("web/*.tar",), 1.0)]),
        (["--data.sources", "web/{00..99}.tar"], [("web", ("web/{00..99}.tar",), 1.0)]),
        (["--data.sources", "s3://b/laion/*.tar"], [("laion", ("s3://b/laion/*.tar",), 1.0)]),
        (["--data.sources", "2024"], [("2024", ("2024",), 1.0)]),
        (
            ["--data.sources", "a/{x,y}/*.tar,b.tar"],
            [("a", ("a/{x,y}/*.tar",), 1.0), ("b", ("b.tar",), 1.0)],
        ),
        (
            ["--data.sources", "a,b", "--data.sources.1.weight", "0.5"],
            [("a", ("a",), 1.0), ("b", ("b",), 0.5)],
        ),
        (
            ["--data.sources", '[{"name": "n", "shards": ["s"], "weight": 2}]'],
            [("n", ("s",), 2.0)],
        ),
    ],
)
def test_a_plain_path_is_a_source(arguments, sources):
    found = override(base(), arguments).data.sources
    assert [(one.name, one.shards, one.weight) for one in found] == sources


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.sorces", "a"], "unknown key `data.sorces` (did you mean `data.sources`?)"),
        (["--data.sources.9.weight", "1"], "unknown key `data.sources.9`; allowed there: 0, 1"),
        (["--data.sources.0.weight", "0"], "`data.sources.0.weight` is 0.0; allowed: "),
        (["--data.sources", ""], "data: sources must name at least one source"),
    ],
)
def test_a_wrong_source_is_one_line(arguments, message):
    with pytest.raises(UsageError) as caught:
        override(base(), arguments)
    assert str(caught.value).startswith(message)


def test_json_that_is_nested_a_million_deep_is_one_line(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("[" * 1_000_000)
    with pytest.raises(UsageError, match="is not JSON: its lists or objects are nested too deeply"):
        load_json(path)
    with pytest.raises(UsageError, match="takes a number"):
        override(base(), ["--train.optimizer.lr", "[" * 1_000_000])


@dataclass(frozen=True, kw_only=True, slots=True)
class Renamed:
    """A configuration whose part had another name once."""

    part: Part = field(default=Part(), metadata=formerly("piece"))


def test_a_former_name_is_read_and_the_current_one_is_written(tmp_path: Path) -> None:
    old = {"piece": {"rate": 2.0}}
    config = from_json(Renamed, old)
    assert to_json(config) == {"part": {"rate": 2.0, "kind": "red"}}
    assert override(Renamed(), ["--piece.rate", "2"]) == config
    # Fingerprints of folders that exist stay as they are.
    assert without(config, ()) == {"piece": {"rate": 2.0, "kind": "red"}}
    assert not find_changes(config, from_json(Renamed, {"part": {"rate": 2.0}}))
    (tmp_path / "config.json").write_text('{"piece": {"rate": 2.0, "kind": "red"}}')
    save_with_history(config, tmp_path / "config.json", 5)
    assert len(load_history(tmp_path / "config.json")) == 1


def test_a_former_name_beside_the_current_one_is_refused() -> None:
    with pytest.raises(UsageError, match="`piece` is the former name of `part`"):
        from_json(Renamed, {"piece": {}, "part": {}})


@dataclass(frozen=True, kw_only=True, slots=True)
class Grown:
    """A configuration that got a field later."""

    rate: float
    limit: int | None = field(default=None, metadata=added())


def test_an_added_field_changes_no_fingerprint_while_it_has_its_default() -> None:
    assert to_json(Grown(rate=2.0)) == {"rate": 2.0, "limit": None}
    assert without(Grown(rate=2.0), ()) == {"rate": 2.0}
    assert without(Grown(rate=2.0, limit=3), ()) == {"rate": 2.0, "limit": 3}
