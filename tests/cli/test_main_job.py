"""`blip bootstrap`, `demo`, `pretrain` and `evaluate`: what they print, and their errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from blip.cli.main import main
from blip.data.writers.shards import ShardWriter

TINY = [
    *("--pretrain.steps", "1", "--next_pretrain.steps", "1"),
    *("--captioner.steps", "1", "--filter.steps", "1"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("job") / "run"
    assert main(["bootstrap", "scenes_test", "--out", str(out), *TINY]) == 0
    return out


def test_table_and_places_on_stdout_talk_on_stderr(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bootstrap", str(run / "config.json"), "--out", str(run)]) == 0
    out, err = capsys.readouterr()
    for word in ("noisy baseline", "bootstrapped", "report.html", "summary.json", "blip caption"):
        assert word in out
    assert "done already" in err
    assert "[1/10]" not in out


def test_the_commands_that_it_suggests_work(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run / "round-2/pretrain"), "--data", str(run / "data/val")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in lines] == [
        *("tr1", "tr5", "tr10", "ir1", "ir5", "ir10"),
        *("true_first_text", "true_first_image"),
        *("cider", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "correct"),
    ]


def test_what_finished_jobs_made_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(run / "config.json")
    found = {}
    for name, words in {
        "bootstrap": ["bootstrap", config, "--out", str(run)],
        "pretrain": ["pretrain", str(run / "baseline/config.json"), "--out", str(run / "baseline")],
        "capfilt": [
            *("capfilt", str(run / "round-1/capfilt/config.json")),
            *("--out", str(run / "round-1/capfilt")),
        ],
        "report": ["capfilt", "report", str(run / "round-1/capfilt")],
        "recut": [
            *("capfilt", "recut", str(run / "round-1/capfilt"), "--threshold", "0.1"),
            *("--out", str(run / "recut")),
        ],
    }.items():
        assert main([*words, "--json"]) == 0
        found[name] = json.loads(capsys.readouterr().out)
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert found["bootstrap"] == {"out": str(run), **summary}
    assert found["pretrain"] == {"checkpoint": str(run / "baseline/checkpoint")}
    assert found["capfilt"]["images"] == found["recut"]["images"] > 0
    assert Path(found["report"]["report"]).is_file()


def test_evaluate_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(run / "data/val")
    assert main(["evaluate", str(run / "round-1/filter"), "--data", data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == len(found["captions"]) == 8


def test_pretrain_from_a_config_that_a_run_left(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(run / "baseline/config.json")
    assert main(["pretrain", config, "--out", str(tmp_path / "again")]) == 0
    assert str(tmp_path / "again/checkpoint") in capsys.readouterr().out
    again, before = (
        (folder / "checkpoint/model.safetensors").read_bytes()
        for folder in (tmp_path / "again", run / "baseline")
    )
    assert again == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bootstrap"], ["recipe", "--list"]),
        (["bootstrap", "scenes_demos", "--out", "x"], ["scenes_demos", "scenes_demo", "flickr8k"]),
        (["bootstrap", "scenes_test"], ["--out"]),
        (["bootstrap", "absent.json", "--out", "x"], ["absent.json"]),
        (["bootstrap", "scenes_test", "--out", "x", "--rouns", "2"], ["rouns", "rounds"]),
        (["bootstrap", "scenes_test", "--out", "x", "--rounds", "0"], ["rounds", "0", "from 1"]),
        (
            ["bootstrap", "scenes_test", "--out", "x", "--rounds", "two"],
            ["rounds", "two", "integer"],
        ),
        (
            ["bootstrap", "scenes_test", "--out", "x", "--init", "old"],
            ["init", "old", "previous, fresh"],
        ),
        (
            ["bootstrap", "scenes_test", "--out", "x", "--pretrain.steps"],
            ["pretrain.steps", "value"],
        ),
        (["bootstrap", "scenes_test", "--out", "x", "--data.shapes", "cube"], ["cube", "circle"]),
        (["bootstrap", "flickr8k", "--out", "x", "--data.human", "nowhere"], ["nowhere"]),
        (["demo", "--seed", "one"], ["--seed", "one"]),
        (["pretrain", "basic", "--out", "x"], ["basic", "base"]),
        (["pretrain", "base"], ["--out"]),
        (["evaluate", "absent", "--data", "x"], ["absent"]),
        (["evaluate", "absent"], ["--data"]),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("blip: error: ")
    for word in words:
        assert word in last
    assert "Traceback" not in err


def test_overrides_may_stand_before_the_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bootstrap", "--pretrain.steps", "77", "scenes_test", "--keys"]) == 0
    assert "--pretrain.steps 77  (a whole number from 1 to " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["bootstrap", "--list"], "scenes_demo"),
        (["demo", "--list"], "scenes_demo"),
        (["pretrain", "--list"], "base_129m"),
        (["finetune", "--list"], "filter:\n  coco "),
        (["finetune", "filter", "--list"], "coco_large"),
        (["demo", "--pretrain.steps", "77", "--keys"], "--pretrain.steps 77"),
        (["bootstrap", "--help"], "scenes_demo"),
        (["bootstrap", "scenes_demo", "--keys"], "--contrastive.queue_size"),
        (["pretrain", "--help"], "base"),
        (["pretrain", "base", "--keys"], "--train.optimizer.lr"),
        (["demo", "--help"], "--seed"),
        (["evaluate", "--help"], "--candidates"),
    ],
)
def test_help_and_lists_load_no_torch(arguments: list[str], word: str) -> None:
    code = (
        "import sys\nfrom blip.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert word in done.stdout


def test_demo_is_the_recipe_with_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import blip.cli.bootstrap

    asked = {}
    monkeypatch.setattr(
        blip.cli.bootstrap,
        "run_recipe",
        lambda config, out, how: asked.update(config=config, out=out) or 0,
    )
    assert main(["demo", "--out", str(tmp_path / "d"), "--seed", "3"]) == 0
    assert asked["out"] == tmp_path / "d"
    assert asked["config"].seed == 3


def test_a_folder_called_data_that_was_there_is_not_wiped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/thesis.doc").touch()
    assert main(["demo", "--out", "."]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("blip: error: . holds data, which `blip bootstrap` did not make")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "thesis.doc"]


def test_another_seed_is_refused_with_what_differs(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "summary.json").read_bytes()
    assert main(["bootstrap", "scenes_test", "--out", str(run), *TINY, "--seed", "1"]) == 2
    assert "another configuration (seed 1, was 0); --overwrite" in capsys.readouterr().err
    assert (run / "summary.json").read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [["evaluate", "absent"], ["capfilt", "--captioner", "absent", "--filter", "absent"]],
    ids=["evaluate", "capfilt"],
)
def test_a_mistyped_checkpoint_leaves_no_folder(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with ShardWriter(tmp_path / "web/0.tar"):
        pass
    assert main([*command, "--data", str(tmp_path / "web"), "--out", str(tmp_path / "out")]) == 2
    assert "no checkpoint at absent" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "verb", [["bootstrap", "scenes_test"], ["demo"]], ids=["bootstrap", "demo"]
)
def test_the_main_job_is_not_for_torchrun(
    tmp_path: Path,
    verb: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*verb, "--out", str(tmp_path / "out")]) == 2
    assert "cannot run under torchrun; run it alone" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
