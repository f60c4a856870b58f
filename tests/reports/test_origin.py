"""Results name their commit, machine and date."""

import platform
import re
import subprocess
from pathlib import Path

from blip.reports.origin import origin, processor


def test_commit_machine_and_date(tmp_path: Path) -> None:
    outside = origin(tmp_path)
    assert outside["commit"] == "unknown"
    assert re.fullmatch(r"\d+ cores, \w.*, \w+", outside["machine"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", outside["date"])
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True, capture_output=True)
    assert re.fullmatch(r"[0-9a-f]{7,}", origin(tmp_path)["commit"])
    (tmp_path / "file").write_text("two")
    assert origin(tmp_path)["commit"].endswith("-dirty")


def test_processor_is_named_as_far_as_it_is_known(tmp_path: Path) -> None:
    listed = tmp_path / "cpuinfo"
    assert processor(listed) == platform.machine()
    listed.write_text("processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd\n")
    assert processor(listed) == platform.machine()
    listed.write_text("processor\t: 0\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Fast CPU\n\n")
    assert processor(listed) == "Fast CPU (family 6, model 143)"
