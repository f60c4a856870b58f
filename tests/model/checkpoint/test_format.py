"""Folders of earlier versions load and give what they gave; those of later ones are refused."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from blip import load
from blip.cli.main import main
from blip.data.tokenizer import Tokenizer
from blip.errors import BlipError
from blip.inference.checkpoint import fingerprint, load_model, read_sizes, save_model
from blip.inference.convert import convert
from blip.model.checkpoint import format as module
from blip.model.checkpoint.contents import read_contents
from blip.model.checkpoint.format import FORMAT
from blip.model.checkpoint.locate import find_weights
from tests.support.checkpoint_formats import KINDS, outputs
from tests.support.saved_models import save_picture

FORMATS = Path(__file__).parent / "formats"
WRITTEN = [f"0/{kind}" for kind in KINDS] + ["1/med", "2/med"]


def close(found: Any, recorded: Any) -> bool:
    """Texts alike, numbers to five digits; as in every version and on every machine."""
    if isinstance(recorded, dict):
        return found.keys() == recorded.keys() and all(close(found[k], recorded[k]) for k in found)
    if isinstance(recorded, list):
        return len(found) == len(recorded) and all(map(close, found, recorded))
    if isinstance(recorded, float):
        return found == pytest.approx(recorded, rel=1e-4, abs=1e-5)
    return found == recorded


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(FORMATS / str(FORMAT) / "med", tmp_path / "med")


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", WRITTEN)
def test_a_folder_of_every_format_gives_what_it_gave(name: str) -> None:
    recorded = json.loads((FORMATS / f"{name}.json").read_text())
    found = outputs(FORMATS / name)
    assert close(found, recorded), found
    assert not close(found, recorded | {"fingerprint": "0"})


def test_every_format_has_a_folder() -> None:
    assert sorted(path.name for path in FORMATS.iterdir()) == [str(n) for n in range(FORMAT + 1)]
    for name in WRITTEN:
        sizes = json.loads((FORMATS / name / "config.json").read_text())
        assert sizes.get("format", 0) == int(name[0])


def test_what_is_saved_has_the_newest_format_and_the_same_fingerprint(tmp_path: Path) -> None:
    old = load_model(FORMATS / "0/med")
    save_model(old.model, old.tokenizer, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["format"] == FORMAT
    assert fingerprint(tmp_path) == fingerprint(FORMATS / "0/med")
    assert read_sizes(tmp_path) == old.config


def test_the_format_has_no_part_in_the_fingerprint(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(copy)
    monkeypatch.setattr(module, "FORMAT", 7)
    change_config(copy, format=7)
    assert fingerprint(copy) == before
    change_config(copy, projection=8)
    with pytest.raises(BlipError, match="projection"):
        load(copy)


def test_a_later_format_is_refused_in_one_line(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_config(copy, format=FORMAT + 1, some_new_size=3)
    hint = rf"has format {FORMAT + 1}, .* up to {FORMAT}: pip install -U blip-capfilt$"
    for read in (load, read_sizes, fingerprint):
        with pytest.raises(BlipError, match=hint):
            read(copy)
    photo = save_picture(copy / "photo.png")
    assert main(["caption", str(copy), str(photo)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "pip install -U blip-capfilt" in line


def test_a_later_format_is_refused_before_its_weights_are_read(copy: Path) -> None:
    change_config(copy, format=FORMAT + 1)
    (copy / "model.safetensors").write_bytes(b"of another kind")
    with pytest.raises(BlipError, match="pip install -U blip-capfilt"):
        load(copy)


@pytest.mark.parametrize("number", [-1, "1", 1.5, None, True])
def test_a_format_that_is_no_number_is_refused(copy: Path, number: Any) -> None:
    change_config(copy, format=number)
    with pytest.raises(BlipError, match="format must be a whole number from 0 on"):
        load(copy)


def test_an_unknown_key_beside_the_format_is_refused(copy: Path) -> None:
    change_config(copy, formt=1)
    message = r"^\S+med/config\.json: unknown key `formt` \(did you mean `format`\?\)$"
    with pytest.raises(BlipError, match=message):
        load(copy)


def test_wrong_sizes_end_as_broken_weights_do(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_config(copy, formt=1)
    picture = save_picture(copy / "p.png")
    assert main(["caption", str(copy), str(picture)]) == 1
    assert "config.json: unknown key `formt` (did you mean" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"projection": "8"}, 'projection takes an integer, got "8"'),
        ({"projection": 0}, "`projection` is 0; allowed: "),
        ({"vision": {"sides": 3}}, "unknown key `vision.sides`; allowed there: "),
    ],
)
def test_the_file_and_the_key_of_a_wrong_size_are_named_apart(
    copy: Path, changes: dict[str, Any], message: str
) -> None:
    change_config(copy, **changes)
    with pytest.raises(BlipError, match=re.escape(f"{copy / 'config.json'}: {message}")):
        load(copy)


def test_the_tokenizer_of_the_first_format_reads_as_it_did() -> None:
    tokenizer = Tokenizer.load(FORMATS / "0/med")
    ids = tokenizer.encode(["two blue stars"], 20).ids[0].tolist()
    assert ids == [2, 56, 49, 8, 55, 15, 3]
    assert tokenizer.decode(ids) == "two blue stars"


def test_the_origin_of_weights_survives_our_layout_alone(tmp_path: Path) -> None:
    trained = FORMATS / "2/med"
    assert read_contents(find_weights(trained)).origin == "trained"
    assert convert(trained, tmp_path / "ours", "blip").origin == "trained"
    assert read_contents(find_weights(tmp_path / "ours")).origin == "trained"
    convert(trained, tmp_path / "theirs.pth", "original")
    convert(tmp_path / "theirs.pth", tmp_path / "back", "blip", tokenizer=trained)
    assert read_contents(find_weights(tmp_path / "back")).origin == "released"


def test_earlier_formats_pass_for_released_and_other_origins_are_refused(copy: Path) -> None:
    assert read_contents(find_weights(FORMATS / "1/med")).origin == "released"
    change_config(copy, origin="bought")
    with pytest.raises(BlipError, match="origin must be trained or released, got 'bought'"):
        load(copy)
