"""Where a result comes from: without commit, machine and date it proves nothing."""

import datetime
import os
import platform
import subprocess
from pathlib import Path


def origin(checkout: Path) -> dict[str, str]:
    """The commit of `checkout` (marked where files differ from it), the machine and the date."""
    return {
        "commit": _commit(checkout),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }


def _commit(checkout: Path) -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=checkout, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"
