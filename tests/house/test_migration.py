"""What the migration page gives as ours works: programs, keys of configurations, and options."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import blip
from blip.recipes import captioner, pretrain
from tests.support.docs_folder import save_docs_folder
from tests.support.pages import ROOT

PAGE = (ROOT / "docs/migration.md").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
CODE = re.compile(r"`([^`]+)`")
PROGRAMS = sorted(
    {
        code
        for row in ROWS
        for code in CODE.findall(row[1] if len(row) > 1 else "")
        if code.startswith(("m.", "blip.")) and "(" in code
    }
)
RELEASED = re.compile(r'"(?:original:|hf:)[\w/-]*"(?: \+ name)?')
ANSWERS = ["red", "two"]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the programs take: pictures, texts, and models that know nothing."""
    folder = save_docs_folder(tmp_path_factory.mktemp("docs") / "all")
    picture = Image.open(folder / "photo.jpg")
    return {
        "blip": blip, "folder": folder, "answers": ANSWERS,
        "image": picture, "picture": picture, "left": picture, "right": picture,
        "images": [picture, picture], "text": "a dog", "texts": ["a dog", "a cat"],
        "question": "what is it?", "name": str(folder / "runs/captioner"),
    }  # fmt: skip


def model_for(program: str, folder: Path) -> blip.LoadedModel:
    for method, run in (("ask", "vqa"), ("compare", "nlvr"), ("m.caption", "captioner")):
        if method in program:
            return blip.load(folder / "runs" / run)
    return blip.load(folder / "runs/filter")


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("program", PROGRAMS)
def test_our_side_of_a_line_runs(program: str, names: dict[str, Any]) -> None:
    text = RELEASED.sub("name", program).replace('"cuda"', '"cpu"')
    if "..." in text:
        text = text.replace("...", "[image]")
    # A tiny model has fewer positions than a text may have here.
    text = re.sub(r"\bmax_length=\d+", "max_length=12", text)
    text = re.sub(r"\bmin_length=\d+", "min_length=6", text)
    model = model_for(program, names["folder"])
    assert eval(text, {**names, "m": model}) is not None


def test_there_are_many_lines() -> None:
    assert len(PROGRAMS) > 15


def test_settings_of_decoding_exist() -> None:
    found = set(
        re.findall(r"(?<=[(`, ])([a-z_]+)=(?=[\w\"])", " ".join(r[1] for r in ROWS if r[1:]))
    )
    known = {field.name for field in dataclasses.fields(blip.DecodingConfig)}
    assert {"beams", "kind", "top_p", "prompt"} <= found
    assert found - known <= {"candidates", "precision", "keep_prompt", "use_nucleus_sampling"}


def test_keys_of_configurations_exist() -> None:
    table = PAGE.partition("Keys of the YAML files:")[2].partition("Functions:")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    keys = [key for row in rows for key in CODE.findall(row[1])]
    assert len(keys) > 12
    last = ""
    for key in keys:
        # Further fields of the part that was named before.
        full = key if "." in key or key == "large" else f"{last.rpartition('.')[0]}.{key}"
        last = full
        assert full == "large" or any(
            has(config, full.split(".")) for config in (pretrain.base(), captioner.coco())
        ), key


def has(config: Any, path: list[str]) -> bool:
    for part in path:
        if not hasattr(config, part):
            return False
        config = getattr(config, part)
    return True
