"""What is measured of a whole model, of either half, and of data with something bad in it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from blip.cli.main import main
from blip.data.sample import Sample
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.write import draw_sample
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import ShardWriter, write_shards
from blip.errors import UsageError
from blip.evaluation.choose import choose_evaluations
from blip.evaluation.config import EvaluateConfig
from blip.evaluation.evaluate import evaluate, evaluate_into, read_evaluation
from blip.files import write_atomically
from blip.generation.config import DecodingConfig
from blip.inference.checkpoint import save_model
from blip.model.blip import Blip
from blip.model.config import Architecture, ModelConfig
from blip.nn.mode import BOTH_MODES, Mode
from blip.tasks.table import EVALUATIONS
from tests.support.pictures import photo
from tests.support.saved_models import tiny_checkpoint
from tests.support.tiny import TINY

WORDS = ["a red blue green circle square star text 0 1 2 3"]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards([Sample(f"k{n}", photo(n), (f"text {n}",)) for n in range(4)], tmp_path / "shards")
    with ShardWriter(tmp_path / "shards/bad.tar") as writer:
        writer.write("broken", photo(9)[:150], "png", "text 9", {})
    return tmp_path / "shards"


def measure(folder: Path, shards: Path, modes: tuple[Mode, ...] = BOTH_MODES) -> dict[str, Any]:
    checkpoint = tiny_checkpoint(folder / "-".join(modes), WORDS, modes)
    return evaluate(EvaluateConfig(checkpoint=str(checkpoint), data=(str(shards),)), EVALUATIONS)


def test_a_half_has_the_figures_that_it_has_in_the_whole(tmp_path: Path, shards: Path) -> None:
    whole = measure(tmp_path, shards)
    assert whole["retrieval"].keys() == {
        *("tr1", "tr5", "tr10", "ir1", "ir5", "ir10"),
        *("true_first_text", "true_first_image"),
    }
    assert whole["not_measured"] == {}
    matcher = measure(tmp_path, shards, ("bidirectional",))
    assert matcher["retrieval"].keys() == whole["retrieval"].keys()
    assert (matcher["caption"], matcher["captions"]) == (None, {})
    assert "no text decoder" in matcher["not_measured"]["caption"]
    captioner = measure(tmp_path, shards, ("causal",))
    assert captioner["retrieval"] is None
    assert captioner["captions"].keys() == {"k0", "k1", "k2", "k3"}
    assert "no text encoder" in captioner["not_measured"]["retrieval"]


def test_one_task_alone_is_measured_where_it_is_asked_for(tmp_path: Path, shards: Path) -> None:
    whole = measure(tmp_path, shards)
    checkpoint = str(tmp_path / "-".join(BOTH_MODES))
    config = EvaluateConfig(checkpoint=checkpoint, data=(str(shards),), task="retrieval")
    found = evaluate(config, EVALUATIONS)
    assert found["retrieval"] == whole["retrieval"]
    assert (found["caption"], found["captions"]) == (None, {})
    assert found["not_measured"] == {"caption": "only retrieval was chosen"}
    found = evaluate(replace(config, task="caption"), EVALUATIONS)
    assert (found["captions"], found["retrieval"]) == (whole["captions"], None)


@pytest.mark.parametrize(
    ("architecture", "modes", "task", "message"),
    [
        ("med", ("causal",), "retrieval", "no text encoder, only a text decoder; it can do cap"),
        ("med", ("bidirectional",), "caption", "no text decoder, only a text encoder; it can do r"),
        ("vqa", BOTH_MODES, "caption", "CKPT cannot do caption: its architecture is vqa"),
        ("med", BOTH_MODES, "riddles", "`task` is 'riddles'; allowed: retrieval, caption"),
    ],
)
def test_a_task_that_a_model_cannot_do_is_refused_in_one_line(
    architecture: Architecture, modes: tuple[Mode, ...], task: str | None, message: str
) -> None:
    model = ModelConfig(architecture=architecture, modes=modes)
    config = EvaluateConfig(checkpoint="CKPT", data=("d",), task=task)
    with pytest.raises(UsageError, match=message):
        choose_evaluations(EVALUATIONS, config, model)


def test_a_model_that_nothing_measures_is_refused_in_one_line() -> None:
    of_meds = [one for one in EVALUATIONS if one.architecture == "med"]
    config = EvaluateConfig(checkpoint="CKPT", data=("d",))
    named = " or ".join(one.name for one in of_meds)
    with pytest.raises(UsageError, match=f"cannot do {named}: its architecture is vqa"):
        choose_evaluations(of_meds, config, ModelConfig(architecture="vqa"))


def test_device_precision_and_batch_size_reach_the_model(
    tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    encode = Blip.encode_image

    def record(self: Blip, images: torch.Tensor) -> torch.Tensor:
        found.append((len(images), images.dtype, images.device.type))
        return encode(self, images)

    monkeypatch.setattr(Blip, "encode_image", record)
    checkpoint = tiny_checkpoint(tmp_path / "model", WORDS)
    given = ["evaluate", str(checkpoint), "--data", str(shards), "--device", "cpu"]
    assert main([*given, "--precision", "bfloat16", "--batch-size", "3"]) == 0
    assert found == 2 * [(3, torch.bfloat16, "cpu"), (1, torch.bfloat16, "cpu")]
    found.clear()
    assert main([*given, "--batch-size", "2", "--task", "caption"]) == 0
    assert found == 2 * [(2, torch.float32, "cpu")]


def test_a_device_that_is_not_there_and_a_wrong_task_are_one_line(
    tmp_path: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "model", WORDS, ("causal",))
    given = ["evaluate", str(checkpoint), "--data", str(shards), "--out", str(tmp_path / "out")]
    assert main([*given, "--task", "retrieval"]) == 2
    assert capsys.readouterr().err == (
        f"blip: error: {checkpoint} cannot do retrieval: this model has no text encoder, only a "
        "text decoder; it can do caption\n"
    )
    assert not (tmp_path / "out/evaluation.json").exists()
    assert main([*given, "--device", "gpu"]) == 2
    assert "allowed: auto, cpu, cuda or cuda:N" in capsys.readouterr().err


def test_a_default_that_the_model_cannot_do_is_named_as_the_option_that_changes_it(
    tmp_path: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = Tokenizer.train(WORDS * 3, vocabulary_size=200)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size, positions=24)
    (tmp_path / "model").mkdir()
    save_model(Blip(replace(TINY, text=text)), tokenizer, tmp_path / "model")
    given = ["evaluate", str(tmp_path / "model"), "--data", str(shards), "--device", "cpu"]
    expected = "blip: error: --max-length is {}; allowed: at most 24, as this model has no more"
    assert main(given) == 2
    assert capsys.readouterr().err.startswith(expected.format(30))
    assert main([*given, "--max-length", "25"]) == 2
    assert capsys.readouterr().err.startswith(expected.format(25))


def test_the_file_says_which_number_format_auto_was(tmp_path: Path, shards: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "model", WORDS)
    config = EvaluateConfig(checkpoint=str(checkpoint), data=(str(shards),), device="cpu")
    out = tmp_path / "out"
    evaluate_into(config, EVALUATIONS, out)
    written = json.loads((out / "config.json").read_text())
    assert (written["precision"], written["device"]) == ("float32", "cpu")
    # One of an earlier version, which had neither key, is the same evaluation.
    for key in ("precision", "device", "task"):
        del written[key]
    (out / "config.json").write_text(json.dumps(written))
    evaluate_into(config, EVALUATIONS, out)
    with pytest.raises(UsageError, match=r'precision "bfloat16", was "float32"\); --overwrite'):
        evaluate_into(replace(config, precision="bfloat16"), EVALUATIONS, out)


def test_what_was_left_out_is_in_the_file(tmp_path: Path, shards: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "model", WORDS)
    config = EvaluateConfig(checkpoint=str(checkpoint), data=(str(shards),))
    evaluate_into(config, EVALUATIONS, tmp_path / "out")
    found = read_evaluation(tmp_path / "out")
    assert (found["images"], found["texts"]) == (4, 4)
    assert found["left_out"] == {"truncated_image": 1}
    assert found["left_out_samples"] == [
        {"shard": "bad.tar", "key": "broken", "reason": "truncated_image"}
    ]
    # Plain JSON: no NaN, no Infinity.
    json.loads((tmp_path / "out/evaluation.json").read_text(), parse_constant=pytest.fail)


def test_a_foreign_scene_is_ignored(tmp_path: Path) -> None:
    metas = [{"scene": "a beach"}, {"scene": {"background": "blue"}}, {"scene": 3}]
    samples = [Sample(f"k{n}", photo(n), ("text",), meta) for n, meta in enumerate(metas)]
    write_shards(samples, tmp_path / "shards")
    found = measure(tmp_path, tmp_path / "shards")
    assert found["caption"]["correct"] is None
    assert found["retrieval"]["true_first_text"] is None
    assert found["retrieval"]["true_first_image"] is None


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
    evaluate_into(config, EVALUATIONS, out)
    evaluate_into(config, EVALUATIONS, out)
    before = (out / "evaluation.json").read_bytes()
    other = replace(config, captioning=DecodingConfig(max_length=7))
    with pytest.raises(UsageError, match=r"captioning\.max_length 7, was \d+\); --overwrite"):
        evaluate_into(other, EVALUATIONS, out)
    assert (out / "evaluation.json").read_bytes() == before
    evaluate_into(other, EVALUATIONS, out, overwrite=True)
    assert json.loads((out / "config.json").read_text())["captioning"]["max_length"] == 7
    with pytest.raises(UsageError, match="would replace the input"):
        evaluate_into(config, EVALUATIONS, checkpoint)


@pytest.mark.parametrize("written", [0, 1])
def test_an_evaluation_that_is_stopped_while_it_writes_is_done_again(
    written: int, tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "model", WORDS)
    config = EvaluateConfig(checkpoint=str(checkpoint), data=(str(shards),))
    other = replace(config, captioning=DecodingConfig(max_length=7))
    out = tmp_path / "out"
    evaluate_into(config, EVALUATIONS, out)
    names: list[str] = []

    def stopped(path: Path, content: str) -> None:
        if len(names) == written:
            raise KeyboardInterrupt
        names.append(path.name)
        write_atomically(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("blip.evaluation.evaluate.write_atomically", stopped)
        with pytest.raises(KeyboardInterrupt):
            evaluate_into(other, EVALUATIONS, out, overwrite=True)
    assert not (out / "evaluation.json").exists(), "figures of another configuration"
    # Nothing that is finished is replaced any more.
    found = evaluate_into(other, EVALUATIONS, out)
    whole = evaluate_into(other, EVALUATIONS, tmp_path / "whole")
    assert found["caption"] == whole["caption"]
    for path in (tmp_path / "whole").glob("*.json"):
        assert (out / path.name).read_bytes() == path.read_bytes()
