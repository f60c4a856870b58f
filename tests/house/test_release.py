"""What a release consists of names the same version, licence and extras everywhere."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOR_DEVELOPERS = {"all", "dev", "docs", "release"}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
TEMPLATES = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_citation_names_this_version_of_this_project() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert citation["title"] == PROJECT["name"]
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["preferred-citation"]["url"] == PROJECT["urls"]["Paper"]


def test_all_is_all_that_a_user_can_choose() -> None:
    (everything,) = EXTRAS["all"]
    chosen = set(everything.partition("[")[2].rstrip("]").split(","))
    # These two record a training at a service of the user's.
    assert chosen == set(EXTRAS) - FOR_DEVELOPERS - {"tensorboard", "wandb"}


def test_the_container_has_a_python_and_the_extras_of_the_project() -> None:
    versions = set(re.findall(r"^FROM python:(\d+\.\d+)-", DOCKERFILE, re.MULTILINE))
    assert len(versions) == 1
    assert f"Programming Language :: Python :: {versions.pop()}" in PROJECT["classifiers"]
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert f"blip-capfilt[{extras}]" in EXTRAS["all"]


def test_the_context_of_the_container_holds_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert {name for names in copied for name in names.split()} == kept
    assert all((ROOT / name).exists() for name in kept)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_forms_for_issues_are_whole(path: Path) -> None:
    form = load(path)
    if path.stem == "config":
        assert form["blank_issues_enabled"] is True
        return
    assert form["name"]
    assert form["description"]
    for field in form["body"]:
        assert field["type"] in ("textarea", "input")
        assert field["id"]
        assert field["attributes"]["label"]
