"""Results name their commit, machine and date."""

import re
import subprocess
from pathlib import Path

from blip.reports.origin import origin


def test_commit_machine_and_date(tmp_path: Path) -> None:
    outside = origin(tmp_path)
    assert outside["commit"] == "unknown"
    assert re.fullmatch(r"\d+ cores, \w+, \w+", outside["machine"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", outside["date"])
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True, capture_output=True)
    assert re.fullmatch(r"[0-9a-f]{7,}", origin(tmp_path)["commit"])
    (tmp_path / "file").write_text("two")
    assert origin(tmp_path)["commit"].endswith("-dirty")
