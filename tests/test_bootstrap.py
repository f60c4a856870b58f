"""The main job on the smallest recipe: what it leaves, what it does again, and that it is fair."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blip.bootstrap import bootstrap
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from blip.errors import UsageError
from blip.inference.checkpoint import load_model
from blip.recipes.bootstrap import scenes_test
from blip.recipes.config import BootstrapConfig, ShardsConfig

STAGES = [
    "data",
    "tokenizer",
    "round-1/pretrain",
    "round-1/captioner",
    "round-1/filter",
    "round-1/capfilt",
    "round-2/pretrain",
    "baseline",
    "baseline/evaluation",
    "round-2/pretrain/evaluation",
]
MODELS = [name for name in STAGES if name.endswith(("pretrain", "captioner", "filter", "baseline"))]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; copied where a test resumes it."""
    out = tmp_path_factory.mktemp("bootstrap") / "run"
    bootstrap(scenes_test(), out)
    return out


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    out = tmp_path / "elsewhere"
    shutil.copytree(run, out)
    return out


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def redone(config: BootstrapConfig, out: Path) -> set[str]:
    """Which stages a further run does."""
    for marker in out.rglob("done.json"):
        marker.write_text(json.dumps(read(marker) | {"old": True}))
    bootstrap(config, out, overwrite=True)
    markers = {
        marker.parent.relative_to(out).as_posix(): read(marker) for marker in out.rglob("done.json")
    }
    return {name for name, marker in markers.items() if "old" not in marker}


def test_summary_has_what_the_demo_promises(run: Path) -> None:
    summary = read(run / "summary.json")
    for model in ("baseline", "bootstrapped"):
        assert set(summary[model]["retrieval"]) == {
            *("tr1", "tr5", "tr10", "ir1", "ir5", "ir10"),
            *("true_first_text", "true_first_image"),
        }
        assert set(summary[model]["caption"]) == {
            *("cider", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "correct")
        }
    capfilt = summary["capfilt"]
    assert capfilt["images"] == 40
    assert capfilt["web_kept"] + capfilt["web_dropped"] == 40
    assert capfilt["synthetic_kept"] + capfilt["synthetic_dropped"] == 40
    assert {
        "filter_precision",
        "filter_recall",
        "synthetic_correct_before",
        "synthetic_correct_after",
    } <= set(capfilt)
    assert set(summary["seconds"]) == set(STAGES)
    assert summary["seed"] == 0


def test_layout(run: Path) -> None:
    for split, count in {"human": 24, "web": 40, "val": 8, "test": 12}.items():
        assert sum(1 for s in expand([str(run / "data" / split)]) for _ in read_shard(s)) == count
    for name in STAGES:
        assert (run / name / "done.json").is_file(), name
        assert (run / name / "config.json").is_file(), name
    for name in MODELS:
        assert load_model(run / name).model is not None
    page = (run / "report.html").read_text()
    assert page.count("<img") > 10
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_again_it_does_nothing_and_says_the_same(copy: Path) -> None:
    before = (copy / "summary.json").read_bytes()
    assert redone(scenes_test(), copy) == set()
    assert (copy / "summary.json").read_bytes() == before


def files(out: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_another_seed_leaves_a_finished_run_alone(copy: Path) -> None:
    before = files(copy)
    config = replace(scenes_test(), seed=1)
    with pytest.raises(UsageError, match=r"another configuration \(seed 1, was 0\); --overwrite"):
        bootstrap(config, copy)
    # No training is unfinished: there is nothing that could go on.
    with pytest.raises(UsageError, match=r"data holds a result of other data.*--overwrite"):
        bootstrap(config, copy, allow_change=True)
    assert files(copy) == before


@pytest.mark.usefixtures("forked_workers")
def test_options_that_change_no_weight_may_differ(copy: Path) -> None:
    config = scenes_test()
    often = replace(config.pretrain, log_every=1, checkpoint_every=1)
    bootstrap(replace(config, pretrain=often, parallel=2), copy)
    assert read(copy / "config.json")["parallel"] == 2


@pytest.mark.parametrize("name", ["data", "tokenizer", "round-1", "baseline"])
def test_a_folder_that_was_there_is_not_wiped(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.doc").write_text("mine")
    (tmp_path / "notes.txt").touch()
    before = files(tmp_path)
    with pytest.raises(UsageError, match=f"holds {name}, which `blip bootstrap` did not make"):
        bootstrap(scenes_test(), tmp_path, overwrite=True)
    assert files(tmp_path) == before


def test_an_unfinished_training_goes_on_with_other_settings_where_that_is_allowed(
    tmp_path: Path,
) -> None:
    config = scenes_test()
    config = replace(config, pretrain=replace(config.pretrain, checkpoint_every=1))

    def die(self: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blip.train.loop._Run.finish", die)
        with pytest.raises(KeyboardInterrupt):
            bootstrap(config, tmp_path)
    other = replace(config, pretrain=replace(config.pretrain, steps=config.pretrain.steps + 1))
    with pytest.raises(UsageError, match=r"pretrain\.steps \d, was \d\); --overwrite .* --allow"):
        bootstrap(other, tmp_path)
    assert "history" not in read(tmp_path / "config.json")
    bootstrap(other, tmp_path, allow_change=True)
    result = read(tmp_path / "round-1/pretrain/config.json")
    last = config.pretrain.steps - 1
    assert [(h["from_step"], h["config"]["train"]["steps"]) for h in result["history"]] == [
        (0, last + 1),
        (last, last + 2),
    ]
    whole = read(tmp_path / "config.json")["history"]
    assert [(h["from_stage"], h["config"]["pretrain"]["steps"]) for h in whole] == [
        (None, last + 1),
        ("round-1/pretrain", last + 2),
    ]
    bootstrap(other, tmp_path)
    assert read(tmp_path / "config.json")["history"] == whole


def test_another_seed_does_all_anew(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert redone(replace(scenes_test(), seed=1), copy) == set(STAGES)
    assert "its inputs changed" in capsys.readouterr().err


def test_a_change_is_felt_by_what_follows_alone(copy: Path) -> None:
    config = scenes_test()
    changed = replace(config, filter=replace(config.filter, steps=config.filter.steps + 1))
    assert redone(changed, copy) == {
        "round-1/filter",
        "round-1/capfilt",
        "round-2/pretrain",
        "round-2/pretrain/evaluation",
    }


def test_baseline_and_bootstrapped_differ_in_their_web_texts_alone(run: Path) -> None:
    baseline, model = read(run / "baseline/config.json"), read(run / "round-2/pretrain/config.json")
    assert baseline["init"] == model["init"] == str(run / "round-1/pretrain")
    webs = [config["data"]["sources"].pop(1)["shards"] for config in (baseline, model)]
    assert webs == [[str(run / "data/web")], [str(run / "round-1/capfilt/shards")]]
    assert baseline == model


def test_captioner_and_filter_come_from_the_pre_training_and_see_human_pairs(run: Path) -> None:
    for name in ("captioner", "filter"):
        config = read(run / "round-1" / name / "config.json")
        assert config["init"] == str(run / "round-1/pretrain")
        assert [s["shards"] for s in config["data"]["sources"]] == [[str(run / "data/human")]]
    capfilt = read(run / "round-1/capfilt/config.json")
    assert capfilt["captioner"] == str(run / "round-1/captioner")
    assert capfilt["filter"] == str(run / "round-1/filter")
    assert capfilt["data"] == [str(run / "data/web")]


def test_two_rounds_go_on_from_one(copy: Path) -> None:
    config = replace(scenes_test(), rounds=2)
    assert redone(config, copy) == {
        "round-2/captioner",
        "round-2/filter",
        "round-2/capfilt",
        "round-3/pretrain",
        "round-3/pretrain/evaluation",
        "baseline",
        "baseline/evaluation",
    }
    model = read(copy / "round-3/pretrain/config.json")
    assert model["init"] == str(copy / "round-2/pretrain")
    assert model["data"]["sources"][1]["shards"] == [str(copy / "round-2/capfilt/shards")]
    steps = config.next_pretrain.steps
    assert read(copy / "baseline/config.json")["train"]["steps"] == 2 * steps
    assert len(read(copy / "summary.json")["rounds"]) == 2
    seeds = [read(copy / f"round-{number}/capfilt/config.json")["seed"] for number in (1, 2)]
    assert seeds == [0, 1], "captions of both rounds are drawn with the same numbers"


def test_a_round_that_keeps_no_text_trains_on_human_pairs(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap(replace(scenes_test(), threshold=1.0), copy, overwrite=True)
    assert read(copy / "round-1/capfilt/shards/sizes.json") == {}
    assert "CapFilt kept no text; training on the human pairs alone" in capsys.readouterr().err
    [source] = read(copy / "round-2/pretrain/config.json")["data"]["sources"]
    assert source["name"] == "human"


def test_fresh_rounds_start_anew_with_the_whole_budget(copy: Path) -> None:
    config = replace(scenes_test(), init="fresh")
    assert redone(config, copy) == {
        "round-2/pretrain",
        "round-2/pretrain/evaluation",
        "baseline",
        "baseline/evaluation",
    }
    for name in ("baseline", "round-2/pretrain"):
        made = read(copy / name / "config.json")
        assert made["init"] is None
        assert made["train"]["steps"] == config.pretrain.steps


def test_given_shards_without_scenes_or_truth(run: Path, tmp_path: Path) -> None:
    """What cannot be judged without the scenes is null, not zero."""
    from blip.data.writers.shards import write_shards

    for split in ("human", "web", "val", "test"):
        samples = [s for shard in expand([str(run / "data" / split)]) for s in read_shard(shard)]
        write_shards((replace(s, meta={}) for s in samples), tmp_path / "mine" / split)
    shards = {name: (str(tmp_path / "mine" / name),) for name in ("human", "web", "val", "test")}
    # Three of the splits in other forms: folders of pictures and a table of them.
    pictures = as_pictures(tmp_path / "mine/human", tmp_path / "pictures")
    as_pictures(tmp_path / "mine/web", tmp_path / "of-web")
    table = tmp_path / "test.csv"
    rows = [("path", "caption"), *as_pictures(tmp_path / "mine/test", tmp_path / "of-test").items()]
    table.write_text("".join(f"{path},{text}\n" for path, text in rows))
    shards |= {"human": (str(next(iter(pictures)).parent),), "test": (str(table),)}
    shards |= {"web": (str(tmp_path / "of-web"),)}
    config = replace(scenes_test(), data=ShardsConfig(**shards))
    summary = bootstrap(config, tmp_path / "run")
    assert read(tmp_path / "run/baseline/evaluation/evaluation.json")["images"] == len(rows) - 1
    assert summary["baseline"]["caption"]["correct"] is None
    for name in ("filter_precision", "filter_recall", "synthetic_correct_before"):
        assert summary["capfilt"][name] is None
    assert not (tmp_path / "run/data").exists()
    assert redone(config, tmp_path / "run") == set()


def as_pictures(shards: Path, folder: Path) -> dict[Path, str]:
    """The samples of some shards as pictures with a text file beside each; path to first text."""
    folder.mkdir()
    found = {}
    for sample in (s for shard in expand([str(shards)]) for s in read_shard(shard)):
        path = folder / f"{sample.key}.{sample.extension}"
        path.write_bytes(sample.image or b"")
        path.with_suffix(".txt").write_text("\n".join(sample.texts))
        found[path] = sample.texts[0].replace(",", "")
    return found


@pytest.mark.parametrize("out", [".", "a"])
def test_any_name_of_a_folder(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    """Short names occur in many values of a configuration; a run may be moved."""
    shutil.copytree(run, tmp_path / out, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert redone(scenes_test(), Path(out)) == set()


def test_pretraining_is_judged_on_the_way(run: Path) -> None:
    for name, step in (("round-1/pretrain", 3), ("round-2/pretrain", 4), ("baseline", 2)):
        lines = [json.loads(line) for line in (run / name / "metrics.jsonl").open()]
        assert step in [line["step"] for line in lines if "validation_ir1" in line]
        assert (run / name / f"samples/step-{step:08d}.png").is_file()
