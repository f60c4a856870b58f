"""`torchrun -m blip evaluate`: processes share the images, to the figures and files of one."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from blip.model.config import Architecture
from blip.model.grounded import GroundedModel
from tests.support.forked import write_to
from tests.support.ranks import start_ranks
from tests.support.saved_models import save_tiny, tiny_checkpoint
from tests.support.tiny_data import SENTENCE


def evaluate_counting(arguments: list[str], output: Path, encoded: Path) -> None:
    """The work of a process: the command, which notes how many images it encoded."""
    from blip import dist
    from blip.cli.main import main

    encode, counted = GroundedModel.encode_image, [0]

    def count(self: GroundedModel, images: torch.Tensor) -> torch.Tensor:
        counted[0] += len(images)
        (encoded / str(dist.rank())).write_text(str(counted[0]))
        return encode(self, images)

    GroundedModel.encode_image = count
    write_to(output)
    sys.exit(main(arguments))


@pytest.mark.parametrize("architecture", ["med", "vqa"])
def test_processes_share_the_images_to_the_figures_and_files_of_one(
    architecture: Architecture, shards: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    if architecture == "med":
        tiny_checkpoint(model, [SENTENCE])
    else:
        save_tiny(model, architecture)
    found: dict[int, dict[str, Any]] = {}
    shares: dict[int, list[int]] = {}
    for ranks in (1, 2):
        out, encoded = tmp_path / f"out{ranks}", tmp_path / f"encoded{ranks}"
        encoded.mkdir()
        command = ["evaluate", str(model), "--data", str(shards), "--out", str(out), "--json"]
        output = tmp_path / f"output{ranks}"
        for process in start_ranks(ranks, evaluate_counting, command, output, encoded):
            process.join(120)
            assert process.exitcode == 0, output.read_text()
        found[ranks] = json.loads(output.read_text().splitlines()[-1])
        assert output.read_text().count('"not_measured"') == 1
        shares[ranks] = sorted(int(file.read_text()) for file in encoded.iterdir())
    name = "retrieval_by_score" if architecture == "med" else "vqa"
    assert found[1][name]
    assert found[2] == found[1]
    for file in ("evaluation.json", "captions.json" if architecture == "med" else "answers.json"):
        assert (tmp_path / "out2" / file).read_bytes() == (tmp_path / "out1" / file).read_bytes()
    (whole,) = shares[1]
    assert sum(shares[2]) == whole
    assert max(shares[2]) - min(shares[2]) <= 2


def test_a_folder_that_is_taken_ends_all_processes_in_one_line(
    shards: Path, tmp_path: Path
) -> None:
    model, out = save_tiny(tmp_path / "model"), tmp_path / "out"
    out.mkdir()
    (out / "captions.json").write_text("mine")
    command = ["evaluate", str(model), "--data", str(shards), "--out", str(out)]
    output = tmp_path / "output"
    for process in start_ranks(2, evaluate_counting, command, output, tmp_path):
        process.join(120)
        assert process.exitcode == 2, output.read_text()
    assert "captions.json, which `blip evaluate` did not make" in output.read_text()
    assert "Traceback" not in output.read_text()
