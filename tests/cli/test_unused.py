"""An option that would change nothing beside the others is refused in one line, before any work."""

from pathlib import Path

import pytest

from blip.cli.main import main
from blip.cli.options import unused_by
from blip.generation.config import DecodingConfig
from tests.support.saved_models import save_picture, save_tiny

CAPTION = "caption model a.png"
CAPFILT = "capfilt --captioner model --filter model --data a.tar --out out"
EVALUATE = "evaluate model --data a.tar --task caption"
ASK = "ask vqa a.png what?"
IGNORED = [
    (f"{CAPTION} --decode greedy --beams 2", "--beams", "with --decode greedy"),
    (f"{CAPTION} --decode greedy --seed 2", "--seed", "with --decode greedy"),
    (f"{CAPTION} --top-p 0.5 --top-k 3", "--top-p, --top-k", "with --decode beam"),
    (f"{CAPTION} --decode nucleus --beams 2", "--beams", "with --decode nucleus"),
    (
        f"{CAPTION} --decode nucleus --decoding.length_penalty 2",
        "--decoding.length-penalty",
        "with --decode nucleus",
    ),
    (f"{CAPTION} --overwrite", "--overwrite", "without --write"),
    (f"{CAPTION} --write-name full", "--write-name", "without --write"),
    (f"{CAPTION} --keep-prompt", "--keep-prompt", "without --prompt"),
    (f"{CAPFILT} --beams 2", "--beams", "with --decode nucleus"),
    (f"{CAPFILT} --decode beam --temperature 2", "--temperature", "with --decode beam"),
    (f"{EVALUATE} --temperature 2", "--temperature", "with --decode beam"),
    (f"{EVALUATE} --overwrite", "--overwrite", "without --out"),
    (f"{ASK} --candidates 3", "--candidates", "without --answers"),
    (f"{ASK} --candidates 3 --top 2", "--candidates", "without --answers"),
    (f"{CAPTION} --frames 3", "--frames", "without a video"),
    ("match model a.png text --frames 3", "--frames", "without a video"),
    (f"{ASK} --frames 3", "--frames", "with the picture a.png"),
    ("search i text --overwrite", "--overwrite", "without --html"),
    ("search i text --threshold 0.9", "--threshold", "without --duplicates"),
    ("index --out i --remove a --frames 3", "--frames", "without places to add"),
    ("index --out i --remove-keys a --vectors float16", "--vectors", "without places to add"),
    ("pretrain base --out r --resume never --overwrite", "--overwrite", "with --resume never"),
    (
        "finetune captioner coco --out r --resume never --allow-change",
        "--allow-change",
        "with --resume never",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unused")
    save_tiny(place / "model")
    save_tiny(place / "vqa", "vqa")
    save_picture(place / "a.png")
    return place


@pytest.mark.parametrize(("line", "option", "reason"), IGNORED, ids=lambda value: str(value))
def test_what_would_be_ignored_is_refused(
    line: str,
    option: str,
    reason: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert f"blip: error: {option} would not be used " in error
    assert f"{reason}; leave it out" in error
    assert error.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_every_field_of_decoding_is_used_by_some_kind() -> None:
    kinds = ("greedy", "beam", "nucleus")
    ignored = [{key for keys in unused_by(kind).values() for key in keys} for kind in kinds]
    fields = {f"decoding.{name}" for name in DecodingConfig.__dataclass_fields__}
    assert set.union(*ignored) <= fields
    assert not set.intersection(*ignored[1:])
    assert ignored[0] == ignored[1] | ignored[2]
