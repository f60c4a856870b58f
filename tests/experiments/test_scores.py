"""The choice of the score: its rule by hand, and a run on photos of a tiny model."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

import experiments.flickr8k.scores as flickr8k
from experiments.scores import WAYS, Recall, Way, choose, table
from tests.support.pictures import photo
from tests.support.saved_models import save_tiny


def test_another_weight_is_chosen_only_where_it_is_better_in_both_directions() -> None:
    means = dict.fromkeys(WAYS, Recall(10.0, 10.0))
    means[Way("logit", 2.0)] = Recall(90.0, 90.0)
    means[Way("probability", 1.0)] = Recall(30.0, 20.0)
    means[Way("probability", 4.0)] = Recall(29.0, 60.0)
    means[Way("probability", 8.0)] = Recall(31.0, 20.0)
    assert choose(means) == ("probability", 8.0)
    lines = table({way: f"{recall.mean:.0f}" for way, recall in means.items()})
    assert lines[0] == "| | 0 | 0.5 | 1 (published) | 2 | 4 | 8 | 16 |"
    assert lines[-1] == "| probability | 10 | 10 | 25 | 10 | 44 | 26 | 10 |"


def test_photos_are_ranked_by_every_way_and_the_page_gets_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"key": f"k{n}", "image": photo(n), "caption": [f"a red dog {n}", f"a blue cat {n}"]}
        for n in range(6)
    ]
    (tmp_path / "flickr8k").mkdir()
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "flickr8k" / "dev.parquet")
    for name in flickr8k.MODELS:
        save_tiny(tmp_path / name)
    here = tmp_path / "here"
    here.mkdir()
    shutil.copy(flickr8k.HERE / "README.md", here)
    monkeypatch.setattr(flickr8k, "HERE", here)
    monkeypatch.setenv("BLIP_SHARED", str(tmp_path))
    assert flickr8k.main(["--runs", str(tmp_path), "--candidates", "4"]) == 0
    found = json.loads((here / "scores.json").read_text())
    assert (found["images"], found["texts"], len(found["validation"])) == (6, 12, len(WAYS))
    base = next(row for row in found["validation"] if flickr8k.key(row) == flickr8k.BASE)
    assert base["mean_gain"] == [0.0, 0.0, 0.0]
    low, high = base["mean"][1:]
    assert low <= base["mean"][0] <= high
    readme = (here / "README.md").read_text("utf-8")
    assert capsys.readouterr().out.strip() in readme
    monkeypatch.setenv("BLIP_SHARED", str(here))
    assert flickr8k.main(["--runs", str(tmp_path)]) == 2
