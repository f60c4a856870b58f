"""What is measured of a whole model, of either half, and of data with something bad in it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blip.data.sample import Sample
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.write import draw_sample
from blip.data.writers.shards import ShardWriter, write_shards
from blip.errors import UsageError
from blip.evaluation.config import EvaluateConfig
from blip.evaluation.evaluate import evaluate, evaluate_into, read_evaluation
from blip.generation.config import DecodingConfig
from blip.nn.mode import BOTH_MODES, Mode
from tests.support.pictures import photo
from tests.support.saved_models import tiny_checkpoint

WORDS = ["a red blue green circle square star text 0 1 2 3"]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards([Sample(f"k{n}", photo(n), (f"text {n}",)) for n in range(4)], tmp_path / "shards")
    with ShardWriter(tmp_path / "shards/bad.tar") as writer:
        writer.write("broken", photo(9)[:150], "png", "text 9", {})
    return tmp_path / "shards"


def measure(folder: Path, shards: Path, modes: tuple[Mode, ...] = BOTH_MODES) -> dict[str, Any]:
    checkpoint = tiny_checkpoint(folder / "-".join(modes), WORDS, modes)
    return evaluate(EvaluateConfig(checkpoint=str(checkpoint), data=(str(shards),)))


def test_a_half_has_the_figures_that_it_has_in_the_whole(tmp_path: Path, shards: Path) -> None:
    whole = measure(tmp_path, shards)
    assert whole["retrieval"].keys() == {"tr1", "tr5", "tr10", "ir1", "ir5", "ir10"}
    assert whole["not_measured"] == {}
    matcher = measure(tmp_path, shards, ("bidirectional",))
    assert matcher["retrieval"].keys() == whole["retrieval"].keys()
    assert (matcher["caption"], matcher["captions"]) == (None, {})
    assert "no text decoder" in matcher["not_measured"]["caption"]
    captioner = measure(tmp_path, shards, ("causal",))
    assert captioner["retrieval"] is None
    assert captioner["captions"].keys() == {"k0", "k1", "k2", "k3"}
    assert "no text encoder" in captioner["not_measured"]["retrieval"]


def test_what_was_left_out_is_in_the_file(tmp_path: Path, shards: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "model", WORDS)
    config = EvaluateConfig(checkpoint=str(checkpoint), data=(str(shards),))
    evaluate_into(config, tmp_path / "out")
    found = read_evaluation(tmp_path / "out")
    assert (found["images"], found["texts"]) == (4, 4)
    assert found["left_out"] == {"truncated_image": 1}
    assert found["left_out_samples"] == [
        {"shard": "bad.tar", "key": "broken", "reason": "truncated_image"}
    ]
    # Plain JSON: no NaN, no Infinity.
    json.loads((tmp_path / "out/evaluation.json").read_text(), parse_constant=pytest.fail)


def test_a_scene_of_somebody_else_is_none(tmp_path: Path) -> None:
    metas = [{"scene": "a beach"}, {"scene": {"background": "blue"}}, {"scene": 3}]
    samples = [Sample(f"k{n}", photo(n), ("text",), meta) for n, meta in enumerate(metas)]
    write_shards(samples, tmp_path / "shards")
    assert measure(tmp_path, tmp_path / "shards")["caption"]["correct"] is None


def test_scenes_judge_captions(tmp_path: Path) -> None:
    write_shards(
        [draw_sample(ScenesConfig(), "human", n)[1] for n in range(2)], tmp_path / "shards"
    )
    assert measure(tmp_path, tmp_path / "shards")["caption"]["correct"] == 0.0


def test_no_data_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        measure(tmp_path, tmp_path / "nowhere")


def test_another_evaluation_is_replaced_on_request_alone(tmp_path: Path, shards: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "model", WORDS)
    config = EvaluateConfig(checkpoint=str(checkpoint), data=(str(shards),))
    out = tmp_path / "out"
    evaluate_into(config, out)
    evaluate_into(config, out)
    before = (out / "evaluation.json").read_bytes()
    other = replace(config, captioning=DecodingConfig(max_length=7))
    with pytest.raises(UsageError, match=r"captioning\.max_length 7, was \d+\); --overwrite"):
        evaluate_into(other, out)
    assert (out / "evaluation.json").read_bytes() == before
    evaluate_into(other, out, overwrite=True)
    assert json.loads((out / "config.json").read_text())["captioning"]["max_length"] == 7
    with pytest.raises(UsageError, match="would replace the input"):
        evaluate_into(config, checkpoint)
