"""captions.json is what the servers of COCO and NoCaps take."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from blip.cli.main import main
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from blip.evaluation import config
from blip.evaluation.caption import image_id
from blip.metrics import spice
from tests.support.pictures import photo
from tests.support.saved_models import save_tiny

KEYS = {
    "COCO_val2014_000000391895": 391895,
    "val2014/COCO_val2014_000000391895": 391895,
    "val2014/COCO_val2014_000000391895.jpg": 391895,
    "000000391895": 391895,
    "1000092795": "1000092795",
    "0013ea2087020901": "0013ea2087020901",
    "cat_3": "cat_3",
}


@pytest.mark.parametrize(("key", "expected"), KEYS.items())
def test_official_keys_are_numbers_and_others_stay(key: str, expected: int | str) -> None:
    assert image_id(key, {}) == expected


@pytest.mark.parametrize(("own", "expected"), [(17, 17), (0, 0), ("17", "k"), (True, "k")])
def test_the_number_of_an_annotation_file_counts(own: Any, expected: int | str) -> None:
    assert image_id("k", {"image_id": own}) == expected


def evaluate(folder: Path, *options: str) -> list[Any]:
    keys = ("COCO_val2014_000000391895", "000000000042")
    samples = [Sample(key, photo(n), (f"a red circle {n}",)) for n, key in enumerate(keys)]
    if not (folder / "shards").exists():
        write_shards(samples, folder / "shards")
        save_tiny(folder / "model")
    given = ["evaluate", str(folder / "model"), "--data", str(folder / "shards")]
    assert main([*given, "--out", str(folder / "out"), *options]) == 0
    path = folder / "out/captions.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def test_the_file_is_read_by_cocos_own_code(tmp_path: Path) -> None:
    entries = evaluate(tmp_path, "--task", "caption")
    assert [entry["image_id"] for entry in entries] == [391895, 42]
    figures = json.loads((tmp_path / "out/evaluation.json").read_text(encoding="utf-8"))
    assert [entry["caption"] for entry in entries] == [
        figures["captions"][key] for key in ("COCO_val2014_000000391895", "000000000042")
    ]
    assert all(entry.keys() == {"image_id", "caption"} for entry in entries)
    coco = pytest.importorskip("pycocotools.coco").COCO()
    coco.dataset = {"images": [{"id": 391895}, {"id": 42}], "annotations": []}
    coco.createIndex()
    read = coco.loadRes(str(tmp_path / "out/captions.json"))
    assert [read.imgToAnns[number][0]["caption"] for number in (391895, 42)] == [
        entry["caption"] for entry in entries
    ]


def test_captions_of_a_replaced_evaluation_go(tmp_path: Path) -> None:
    assert evaluate(tmp_path, "--task", "caption")
    assert evaluate(tmp_path, "--task", "retrieval", "--overwrite") == []


def test_captions_that_someone_else_wrote_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/captions.json").write_text("mine")
    with pytest.raises(AssertionError):
        evaluate(tmp_path)
    assert "captions.json, which `blip evaluate` did not make" in capsys.readouterr().err
    assert (tmp_path / "out/captions.json").read_text() == "mine"


def test_meteor_without_java_is_one_line_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny(tmp_path / "model")
    monkeypatch.setenv("PATH", "")
    given = ["evaluate", str(tmp_path / "model"), "--data", str(tmp_path / "nowhere")]
    assert main([*given, "--meteor"]) == 2
    assert "METEOR needs Java" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("has_java", [False, True])
def test_spice_names_what_it_lacks_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    has_java: bool,
) -> None:
    save_tiny(tmp_path / "model")
    monkeypatch.setattr(spice, "MODELS", ("no such.jar",))
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/java" if has_java else None)
    given = ["evaluate", str(tmp_path / "model"), "--data", str(tmp_path / "nowhere")]
    assert main([*given, "--spice"]) == 2
    expected = "get_stanford_models` downloads" if has_java else "SPICE needs Java"
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert spice.spice_score(["a dog"], [["a dog"]]) is None


class Program:
    """In place of a program in Java: every set of captions is a quarter right."""

    def compute_score(self, expected: Any, found: Any) -> tuple[float, list[Any]]:
        assert expected.keys() == found.keys() == {0, 1}
        return 0.25, []


def test_spice_is_a_figure_where_its_program_can_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (spice, config):
        monkeypatch.setattr(module, "lacking_for_spice", lambda: None)
    monkeypatch.setattr("pycocoevalcap.spice.spice.Spice", Program)
    evaluate(tmp_path, "--task", "caption", "--spice")
    figures = json.loads((tmp_path / "out/evaluation.json").read_text(encoding="utf-8"))
    assert figures["caption"]["spice"] == 25.0


def test_meteor_is_a_figure_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program itself runs in tests/metrics; it needs ten seconds."""
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/java")
    monkeypatch.setattr("blip.metrics.captions.Meteor", Program)
    evaluate(tmp_path, "--task", "caption", "--meteor")
    figures = json.loads((tmp_path / "out/evaluation.json").read_text(encoding="utf-8"))
    assert figures["caption"]["meteor"] == 25.0


def test_nocaps_is_scored_by_domain_and_answered_by_its_numbers(tmp_path: Path) -> None:
    images, annotations = [], []
    for number, domain in enumerate(("in-domain", "in-domain", "out-domain")):
        name = f"{number:016x}.png"
        (tmp_path / name).write_bytes(photo(number))
        images.append({"id": number + 7, "file_name": name, "domain": domain})
        annotations.append({"id": number, "image_id": number + 7, "caption": f"a circle {number}"})
    path = tmp_path / "nocaps_val_4500_captions.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    out = tmp_path / "out"
    given = ["evaluate", str(save_tiny(tmp_path / "model")), "--data", str(path)]
    assert main([*given, "--task", "caption", "--out", str(out)]) == 0
    rows = json.loads((out / "captions.json").read_text(encoding="utf-8"))
    assert [row["image_id"] for row in rows] == [7, 8, 9]
    figures = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["caption"]
    assert {name.partition("/")[2] for name in figures} == {"", "in-domain", "out-domain"}
    assert {"cider/in-domain", "bleu4/out-domain"} <= figures.keys()


def test_score_and_weight_reach_the_ranking(tmp_path: Path) -> None:
    evaluate(tmp_path, "--task", "retrieval", "--score", "probability", "--itc-weight", "0.5")
    config = json.loads((tmp_path / "out/config.json").read_text(encoding="utf-8"))
    assert (config["retrieval"]["score"], config["retrieval"]["itc_weight"]) == ("probability", 0.5)
    result = json.loads((tmp_path / "out/evaluation.json").read_text(encoding="utf-8"))
    by_score = result["retrieval_by_score"]
    assert by_score.keys() == {"logit", "log_probability", "probability"}
    assert result["retrieval"] == by_score["probability"]


def write_test_set(folder: Path, form: str) -> Path:
    """Pictures 7 and 8, whose captions a server keeps, and a broken one; in one of some forms."""
    contents = {"0000000000000001.png": photo(1), "b.png": photo(2), "c.png": photo(3)[:99]}
    folder.mkdir()
    if form == "table":
        rows = [{"image_id": name, "image": content} for name, content in contents.items()]
        parquet.write_table(pa.Table.from_pylist(rows), folder / "test.parquet")
        return folder / "test.parquet"
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    if form == "folder":
        return folder
    images = [{"id": 7 + place, "file_name": name} for place, name in enumerate(contents)]
    path = folder / "nocaps_test_image_info.json"
    empty = {"annotations": []} if form == "no annotations" else {}
    path.write_text(json.dumps({"images": images, "info": {}, **empty}))
    return path


@pytest.mark.parametrize("form", ["no key", "no annotations", "folder", "table"])
def test_images_whose_captions_a_server_keeps_are_captioned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    data = write_test_set(tmp_path / "test", form)
    model = save_tiny(tmp_path / "model")
    given = ["evaluate", str(model), "--data", str(data), "--task", "caption"]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "2 images have no true captions, and are not scored\n" in shown.err
    assert "left out: " in shown.err
    rows = json.loads((tmp_path / "out/captions.json").read_text(encoding="utf-8"))
    official = [7, 8] if form.startswith("no ") else ["0000000000000001", "b"]
    assert [row["image_id"] for row in rows] == official
    assert all(isinstance(row["caption"], str) for row in rows)
    figures = json.loads((tmp_path / "out/evaluation.json").read_text(encoding="utf-8"))
    assert figures["caption"] == {"cider": None}
    assert (figures["images_without_captions"], sum(figures["left_out"].values())) == (2, 1)


def test_one_true_caption_is_enough_for_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_test_set(tmp_path / "test", "folder")
    (data / "b.txt").write_text("a red circle")
    model = save_tiny(tmp_path / "model")
    given = ["evaluate", str(model), "--data", str(data), "--task", "caption", "--json"]
    assert main(given) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["caption"]["cider"] is not None
    assert found["captions"].keys() == {"b"}
    assert found["left_out"] == {"missing_text": 2}


def test_without_a_task_images_need_captions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_test_set(tmp_path / "test", "no key")
    assert main(["evaluate", str(save_tiny(tmp_path / "model")), "--data", str(data)]) == 2
    message = "lists images without captions; `blip evaluate --task caption`"
    assert message in capsys.readouterr().err
