"""Imports point down, and what is to be light is light."""

import os
import re
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


WRONG = [
    ("nn/attention.py", "from blip.model.config import ModelConfig", "Imports point down"),
    ("model/heads.py", "from blip.data.tokenizer import Tokenizer", "Imports point down"),
    ("data/config.py", "import torch", "load no torch"),
    ("recipes/pretrain.py", "import numpy", "load no torch"),
    ("reports/origin.py", "from blip.model.make import make_model", "run no model"),
    ("generation/beam.py", "from blip.nn.kv import ImageKV", "Decoding knows neither"),
    ("capfilt/job.py", "import ray", "knows Ray"),
]
"""A line at the end of a file, and the contract that it breaks."""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the linter says of a tree with all wrong imports: each broken contract's part."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for file, line, _ in WRONG:
        with (root / "src/blip" / file).open("a", encoding="utf-8") as stream:
            stream.write(f"\n{line}\n")
    (root / "src/blip/new_place.py").write_text("import json\n")
    done = lint(root)
    assert done.returncode != 0
    _, _, details = done.stdout.partition("Broken contracts")
    parts = re.split(r"\n(\S[^\n]*)\n-+\n", details)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(("file", "line", "contract"), WRONG)
def test_a_wrong_import_is_found(
    file: str, line: str, contract: str, broken: dict[str, str]
) -> None:
    (part,) = [part for name, part in broken.items() if contract in name]
    module = f"blip.{file.removesuffix('.py').replace('/', '.')}"
    assert re.search(rf"{module} -> {line.split()[1]} \(l\.\d+", part), part


def test_a_module_in_no_layer_is_found(broken: dict[str, str]) -> None:
    (part,) = [part for name, part in broken.items() if "Imports point down" in name]
    assert "new_place" in part


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


def test_verbs_that_read_data_alone_load_no_torch():
    code = (
        "import sys, blip.data.pack, blip.data.readers.inspection; 'torch' in sys.modules and 1/0"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
