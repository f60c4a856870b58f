"""The benchmark of agreement: equal outputs agree, others are counted; a run gives every figure."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks import agreement
from blip.data.tokenizer import Tokenizer
from blip.inference.checkpoint import save_model
from blip.nn.kernels.int8_weight import int8_multiplies
from tests.support.attentive_models import TEXTS, attentive_blip, noise_pictures
from tests.support.tiny_data import SENTENCE


def test_shares_and_differences_by_hand() -> None:
    exact = {
        "captions": {"greedy": ["a cat", "a dog", "a bird", "a fish"]},
        "probability": np.array([[0.9, 0.1], [0.45, 0.2]]),
    }
    rough = {
        "captions": {"greedy": ["a cat", "a dog", "birds", "a fish"]},
        "probability": np.array([[0.9, 0.2], [0.55, 0.2]]),
    }
    found = agreement.compare(exact, rough)
    assert found["equal_captions"] == {"greedy": 0.75}
    assert found["probability_apart_mean"] == pytest.approx(0.05)
    assert found["probability_apart_most"] == pytest.approx(0.1)
    assert found["other_side"] == 0.25
    same = agreement.compare(exact, exact)
    assert (same["equal_captions"]["greedy"], same["probability_apart_most"]) == (1.0, 0.0)


@pytest.mark.skipif(not int8_multiplies(), reason="this CPU has no instructions for int8")
def test_a_run_compares_all_formats(tmp_path: Path, capsys, monkeypatch) -> None:
    tokenizer = Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)
    model = tmp_path / "model"
    model.mkdir()
    save_model(attentive_blip(tokenizer), tokenizer, model)
    images = []
    for picture in noise_pictures(4):
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        images.append(stream.getvalue())
    data = tmp_path / "photos.parquet"
    parquet.write_table(pa.table({"image": images, "caption": [[text] for text in TEXTS]}), data)
    places = ("--captioner", str(model), "--filter", str(model), "--data", str(data))
    monkeypatch.setattr(sys, "argv", ["agreement.py", *places, "--photos", "3", "--threads", "1"])
    assert agreement.main() == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["photos"] == 3
    assert set(result["figures"]) == {"float32", "bfloat16", "int8"}
    for found in result["agreement"].values():
        assert 0 < found["probability_apart_most"] < 0.1
