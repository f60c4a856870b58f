"""Whatever a JSON file holds, a configuration is read from it or refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blip.capfilt.config import CapFiltConfig
from blip.config.override import override
from blip.config.strict import from_json, load_json, to_json
from blip.errors import UsageError
from blip.evaluation.config import EvaluateConfig
from blip.files import encoding_of
from blip.recipes import bootstrap, captioner, pretrain

EXAMPLES = {
    type(config): config
    for config in (
        bootstrap.flickr8k(),
        pretrain.base(),
        captioner.coco(),
        CapFiltConfig(captioner="c", filter="f", data=("d",), out="o"),
        EvaluateConfig(checkpoint="c", data=("d",)),
    )
}
NAMES = st.text(max_size=5)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\udcff", "auto", "none", "cuda:9", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def spoilt(draw: st.DrawFn, cls: type) -> Any:
    """A configuration as JSON, in one place of which something else stands."""
    data = to_json(EXAMPLES[cls])
    place = data
    while True:
        key = draw(st.sampled_from(sorted(place))) if isinstance(place, dict) else 0
        below = place[key] if isinstance(place, dict) or place else None
        if below is None or not isinstance(below, dict | list) or draw(st.integers(0, 3)) == 0:
            break
        place = below
    if isinstance(place, list):
        place.append(draw(JSON))
    else:
        place[key if draw(st.booleans()) else draw(NAMES)] = draw(JSON)
    return data


def outcome(read: Callable[[], Any]) -> Any:
    """What is read; None where it is refused, which must take one line."""
    result = ""
    try:
        return read()
    except UsageError as error:
        result = str(error)
    assert result
    assert "\n" not in result
    assert len(result) < 1000
    return None


@pytest.mark.parametrize("cls", EXAMPLES, ids=lambda cls: cls.__name__)
@settings(max_examples=100)
@given(data=st.data())
def test_a_spoilt_configuration_is_read_or_refused_in_one_line(cls: type, data: st.DataObject):
    given = data.draw(spoilt(cls))
    config = outcome(lambda: from_json(cls, given))
    if config is not None:
        assert from_json(cls, json.loads(json.dumps(to_json(config)))) == config


@given(st.binary(max_size=40) | st.sampled_from([b"[" * 10**5, b"9" * 10**4, b"\xef\xbb\xbf{}"]))
def test_a_file_is_read_or_refused_in_one_line(tmp_path_factory: Any, content: bytes):
    path: Path = tmp_path_factory.mktemp("json") / "config.json"
    path.write_bytes(content)
    found = outcome(lambda: load_json(path))
    if found is not None:
        assert found == json.loads(content.decode(encoding_of(content)))


@given(st.lists(st.sampled_from(["--data", "--model.text", "--", "-", "=", "--a=", "x", "--seed"])))
def test_options_are_read_or_refused_in_one_line(arguments: list[str]):
    config = outcome(lambda: override(bootstrap.scenes_demo(), arguments))
    if config is not None:
        assert from_json(type(config), to_json(config)) == config
