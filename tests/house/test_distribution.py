"""What pip installs is enough for what the code imports, and no advice names another's package."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from blip.installed import DISTRIBUTION, install

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOREIGN = re.compile(r"(?<![-\w.])blip\[[a-z]|\binstall\s+(?:-\S+\s+)*['\"]?blip(?![-\w/])")
"""`blip` is somebody else's package: with an extra, or as what pip is to install."""


def texts() -> list[Path]:
    """Every file that could give advice."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.split("\0") if name]
    suffixes = (".py", ".md", ".toml", ".yml", ".sbatch")
    found = [ROOT / name for name in names if name.endswith((*suffixes, "Makefile", ".ci/run"))]
    return [path for path in found if path.exists()]


def distribution_names(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[^\w.-]", text, maxsplit=1)[0]) for text in requirements}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(path: Path) -> set[str]:
    """The packages that a file imports anywhere, but for those that it may do without."""
    found: set[str] = set()

    def look(node: ast.AST, guarded: bool) -> None:
        if isinstance(node, ast.Try):
            caught = " ".join(ast.unparse(h.type) for h in node.handlers if h.type)
            guarded = guarded or "ImportError" in caught
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        elif isinstance(node, ast.Import) and not guarded:
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not guarded and node.module:
            found.add(node.module.partition(".")[0])
        for child in ast.iter_child_nodes(node):
            look(child, guarded)

    look(ast.parse(path.read_text(encoding="utf-8")), False)
    return found - set(sys.stdlib_module_names) - {"blip"}


def test_the_name_is_ours():
    assert PROJECT["name"] == DISTRIBUTION == "blip-capfilt"
    assert set(PROJECT["scripts"]) == {"blip"}
    assert install("ray") == "pip install 'blip-capfilt[ray]'"


def test_nothing_advises_to_install_another_s_package():
    advice = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if FOREIGN.search(line)
    ]
    assert not advice, "\n".join(advice)


@pytest.mark.parametrize(
    ("line", "foreign"),
    [
        ("pip install 'blip[remote]'", True),
        ("needs blip[language]", True),
        ("pip install blip", True),
        ("pip install -U blip", True),
        ("pip install 'blip-capfilt[remote]'", False),
        ("pip install blip-capfilt", False),
        ("x.blip[0]", False),
    ],
)
def test_the_advice_is_recognised(line, foreign):
    assert bool(FOREIGN.search(line)) is foreign


def test_every_extra_that_is_advised_exists():
    named = {
        extra
        for path in texts()
        for found in re.findall(r"blip-capfilt\[([\w,]+)\]", path.read_text(encoding="utf-8"))
        for extra in found.split(",")
    }
    assert named
    assert named <= set(EXTRAS)


def test_a_plain_installation_has_what_the_code_imports():
    """Demo, bootstrap and evaluate among it: from a wheel, in an empty environment."""
    homes = metadata.packages_distributions()
    declared = distribution_names(PROJECT["dependencies"])
    lacking = {}
    for path in sorted((ROOT / "src/blip").rglob("*.py")):
        for module in imported(path):
            if not declared & {normal(name) for name in homes.get(module, [module])}:
                lacking.setdefault(module, []).append(str(path.relative_to(ROOT)))
    # Its only importer runs once fsspec, of the same extra, has opened a location.
    assert lacking.pop("aiohttp", []) == ["src/blip/data/readers/remote.py"]
    # Its frames come from a video that `data/videos/stream.py` has opened with PyAV.
    assert lacking.pop("av", []) == ["src/blip/data/videos/colours.py"]
    # `blip serve` asks for the extra before it imports anything of this folder.
    for module in ("fastapi", "prometheus_client", "pydantic", "starlette", "uvicorn"):
        homes_of = lacking.pop(module, [])
        assert all(home.startswith("src/blip/serve/") for home in homes_of), homes_of
    # `export/write.py` asks for the extra before it imports these.
    assert all(home.startswith("src/blip/export/") for home in lacking.pop("onnx"))
    assert not lacking


def test_every_folder_of_code_is_a_package():
    """Others are not in the wheel."""
    folders = {path.parent for path in (ROOT / "src/blip").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_the_figures_of_captions_need_no_extra():
    assert "pycocoevalcap" in imported(ROOT / "src/blip/metrics/captions.py")
    assert "pycocoevalcap" in distribution_names(PROJECT["dependencies"])
