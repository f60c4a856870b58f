"""Whatever is typed, whatever is damaged, in whatever environment: no traceback, one line."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.command_files import furnish
from tests.support.command_fuzzing import WORKING, Run, Spoil, check, runs, spoils

EXAMPLES = int(os.environ.get("BLIP_FUZZ_EXAMPLES", "80"))
"""The suite draws the same few each time; by hand, thousands are drawn anew."""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad files of every kind that a command reads."""
    folder = tmp_path_factory.mktemp("fuzz")
    furnish(folder)
    return folder


@settings(
    max_examples=EXAMPLES,
    derandomize="BLIP_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(run=runs())
def test_nothing_that_is_typed_ends_in_a_traceback(
    run: Run, workshop: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(run, workshop, tmp_path_factory.mktemp("run"))


@settings(
    max_examples=EXAMPLES // 2,
    derandomize="BLIP_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(words=st.sampled_from(WORKING), spoil=spoils())
def test_no_file_that_is_damaged_ends_in_a_traceback(
    words: str, spoil: Spoil, workshop: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(Run(words.split()), workshop, tmp_path_factory.mktemp("run"), spoil)
