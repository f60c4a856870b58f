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
        "machine": f"{os.cpu_count()} cores, {processor()}, {platform.system()}",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, family and model, if Linux tells: processors round differently."""
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.is_file() else []
    pairs = [line.partition(":") for line in lines]
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    known = {key: fields[key] for key in ("cpu family", "model") if key in fields}
    details = ", ".join(f"{key.removeprefix('cpu ')} {value}" for key, value in known.items())
    return fields.get("model name", platform.machine()) + (f" ({details})" if details else "")


def _commit(checkout: Path) -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=checkout, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"
