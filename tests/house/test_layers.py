"""Imports point down, and what is to be light is light."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIGHT = sorted(
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "src/blip").rglob("*.py")
    if path.name in ("config.py", "__init__.py")
    or path.parent.name in ("cli", "recipes")
    or path.name in ("errors.py", "strict.py", "override.py")
)


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [command, "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_layers_hold():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("nn/attention.py", "from blip.model.config import ModelConfig", "Imports point down"),
        ("model/heads.py", "from blip.data.tokenizer import Tokenizer", "Imports point down"),
        ("new_place.py", "import json", "Imports point down"),
        ("data/config.py", "import torch", "load no torch"),
        ("recipes/pretrain.py", "import numpy", "load no torch"),
        ("generation/beam.py", "from blip.nn.kv import ImageKV", "Decoding knows neither"),
        ("capfilt/job.py", "import ray", "Ray has one door"),
    ],
)
def test_a_wrong_import_is_found(file, line, contract, tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "src/blip" / file).open("a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode != 0
    told = [text for text in done.stdout.splitlines() if contract in text or "blip.new" in text]
    assert told, done.stdout
    assert file == "new_place.py" or any("BROKEN" in text for text in told), done.stdout


def test_configurations_recipes_and_verbs_load_no_torch():
    code = (
        "import importlib, sys\n"
        f"for name in {LIGHT}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'numpy', 'PIL', 'tokenizers', 'pyarrow'} & sys.modules.keys()\n"
        "    if heavy: sys.exit(f'{name} loads {heavy}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"blip", "blip.cli.main", "blip.train.config", "blip.recipes.bootstrap"} <= set(LIGHT)
