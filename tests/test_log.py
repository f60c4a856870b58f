"""Figures and pictures of a run: in files always, on boards where asked for."""

import io
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from blip.errors import BlipError
from blip.log import MetricsLog, progress, say


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_what_is_said_stays_on_its_line_and_moves_no_cursor(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("left out: p%s\n.mp4, a\x1b[31mred.mp4 and \u00e9.mp4")
    assert capsys.readouterr().err == "left out: p%s\\n.mp4, a\\x1b[31mred.mp4 and \u00e9.mp4\n"


def test_values_and_pictures_are_files(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write(3, {"loss": 0.5})
    log.write_picture(3, "samples", Image.new("RGB", (5, 4), "red"))
    log.close()
    assert lines(tmp_path) == [{"step": 3, "loss": 0.5}]
    with Image.open(tmp_path / "samples/step-00000003.png") as picture:
        assert picture.size == (5, 4)
        assert picture.getpixel((2, 2)) == (255, 0, 0)


def test_what_a_killed_run_left_beyond_its_checkpoint_is_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = MetricsLog(tmp_path)
    for step in (1, 2, 3):
        log.write(step, {"loss": float(step)})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    log = MetricsLog(tmp_path, after=2)
    log.write(3, {"loss": 9.0})
    log.close()
    assert [line["loss"] for line in lines(tmp_path)] == [1.0, 2.0, 9.0]
    assert "dropped an incomplete line" in capsys.readouterr().err


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    """JSON knows no NaN: many readers would refuse the line; also one of an earlier version."""
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n')
    log = MetricsLog(tmp_path, after=1)
    log.write(2, {"loss": float("nan"), "gradient_norm": float("inf")})
    log.close()
    assert lines(tmp_path) == [
        {"step": 1, "loss": None},
        {"step": 2, "loss": None, "gradient_norm": None},
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("results_go_to_it_too", [True, False])
def test_results_beside_a_bar_go_where_stdout_goes(
    results_go_to_it_too: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar on stderr once took what was printed meanwhile, though stdout was a file."""
    terminal, file = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal if results_go_to_it_too else file)
    monkeypatch.delenv("BLIP_LINES", raising=False)
    line = "photo.jpg [red] " + 30 * "words "
    with progress(2, "caption") as bar:
        print(line)
        bar.advance()
    assert "caption" in terminal.getvalue()
    assert (file.getvalue() == line + "\n") is not results_go_to_it_too
    assert ("photo.jpg" in terminal.getvalue()) is results_go_to_it_too


def test_another_process_than_the_main_one_writes_nothing(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "run", tensorboard=True, wandb="project", writes=False)
    log.write(1, {"loss": 1.0})
    log.write_picture(1, "samples", Image.new("RGB", (5, 4)))
    log.close()
    assert not (tmp_path / "run").exists()


class StandIn(ModuleType):
    """What is used of the library, kept as it was called."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.begun: list[dict[str, Any]] = []
        self.logged: list[dict[str, Any]] = []
        self.finished = 0

    def init(self, **given: Any) -> "StandIn":
        self.begun.append(given)
        return self

    def define_metric(self, name: str, step_metric: str) -> None:
        assert (name, step_metric) == ("*", "step")

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def Image(self, picture: Image.Image) -> tuple[str, tuple[int, int]]:  # noqa: N802
        return "picture", picture.size

    def finish(self) -> None:
        self.finished += 1


def test_weights_and_biases_goes_on_with_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", library)
    (tmp_path / "config.json").write_text('{"batch_size": 8}')
    for step in (10, 9):
        log = MetricsLog(tmp_path, wandb="things")
        log.write(step, {"loss": 1.0})
        log.write_picture(step, "samples", Image.new("RGB", (6, 4)))
        log.close()
    first, second = library.begun
    assert first == second
    assert (first["project"], first["name"]) == ("things", tmp_path.name)
    assert first["config"] == {"batch_size": 8}
    assert library.logged[:2] == [
        {"step": 10, "loss": 1.0},
        {"step": 10, "samples": ("picture", (6, 4))},
    ]
    assert library.finished == 2


def test_a_refusal_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(StandIn):
        def init(self, **given: Any) -> StandIn:
            raise RuntimeError("no API key configured\nuse wandb login")

    monkeypatch.setitem(sys.modules, "wandb", Refusing())
    with pytest.raises(BlipError, match="no API key configured; WANDB_MODE=offline"):
        MetricsLog(tmp_path, wandb="things")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_real_weights_and_biases_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for step in (1, 2):
        log = MetricsLog(tmp_path, after=step - 1, wandb="things")
        log.write(step, {"loss": 1.0 / step})
        log.write_picture(step, "samples", Image.new("RGB", (6, 4)))
        log.close()
    runs = list((tmp_path / "wandb").glob("offline-run-*"))
    kept = (tmp_path / "wandb-id.txt").read_text()
    assert len(runs) == 2
    assert all(run.name.endswith(f"-{kept}") for run in runs)
    assert all(list(run.glob("run-*.wandb")) for run in runs)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_real_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = MetricsLog(tmp_path, tensorboard=True)
    log.write(1, {"loss": 0.25})
    log.write_picture(1, "samples", Image.new("RGB", (6, 4)))
    log.close()
    events = reading.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("loss")] == [0.25]
    (picture,) = events.Images("samples")
    assert (picture.width, picture.height) == (6, 4)


@pytest.mark.parametrize(
    ("module", "asked", "words"),
    [
        ("wandb", {"wandb": "things"}, r"Weights & Biases .* 'blip-capfilt\[wandb\]'"),
        ("torch.utils.tensorboard", {"tensorboard": True}, r"'blip-capfilt\[tensorboard\]'"),
    ],
)
def test_a_missing_package_says_what_to_type(
    module: str,
    asked: dict[str, Any],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BlipError, match=words):
        MetricsLog(tmp_path, **asked)
