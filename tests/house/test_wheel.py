"""The wheel: what lies in it, and what works once it is installed where nothing else is."""

import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


def run(*command: str | Path, cwd: Path) -> str:
    """What a command writes to stdout, without this tree on its path; it must end with 0."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_"))}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: what an earlier build left in this tree has no part in it."""
    pytest.importorskip("setuptools")
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("out")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignored)
    run(sys.executable, "-c", BUILD, out, cwd=copy)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def empty(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds this wheel and none of its dependencies."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=False)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    pip = (sys.executable, "-m", "pip", "--python", programs / "python")
    offline = ("--no-deps", "--no-index", "--no-cache-dir", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", *offline, wheel, cwd=folder)
    return programs


def text_of(wheel: Path, name: str) -> str:
    """A file beside the package in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [n for n in archive.namelist() if n.endswith(f".dist-info/{name}")]
        return archive.read(path).decode()


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    package = ROOT / "src/blip"
    expected = {
        path.relative_to(ROOT / "src").as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"blip/py.typed", "blip/cli/main.py"} <= expected
    assert any(name.endswith(".html") for name in expected)
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected


def test_its_metadata_are_those_of_the_project(wheel: Path) -> None:
    metadata = message_from_string(text_of(wheel, "METADATA"))
    assert (metadata["Name"], metadata["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert wheel.name == f"blip_capfilt-{PROJECT['version']}-py3-none-any.whl"
    needed = [n for n in metadata.get_all("Requires-Dist", []) if "extra ==" not in n]
    assert sorted(needed) == sorted(PROJECT["dependencies"])
    assert sorted(metadata.get_all("Provides-Extra", [])) == sorted(
        PROJECT["optional-dependencies"]
    )
    assert text_of(wheel, "entry_points.txt") == "[console_scripts]\nblip = blip.cli.main:main\n"
    assert text_of(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_without_any_dependency_it_imports_and_lists_its_verbs(empty: Path, tmp_path: Path) -> None:
    python, version = empty / "python", PROJECT["version"]
    code = "import blip; print(blip.__version__, blip.__file__)"
    found, place = run(python, "-c", code, cwd=tmp_path).split()
    assert found == version
    assert Path(place).is_relative_to(empty.parent)
    assert run(empty / "blip", "--version", cwd=tmp_path) == f"blip {version}\n"
    assert run(python, "-m", "blip", "--version", cwd=tmp_path) == f"blip {version}\n"
    assert "  blip bootstrap  " in run(empty / "blip", cwd=tmp_path)
