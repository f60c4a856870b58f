"""SPICE of captions, by COCO's reference implementation, where its Java program can run."""

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from blip.errors import BlipError, first_line

MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
"""What the package leaves to a download of 400 MB, which is never started here."""


def lacking_for_spice() -> str | None:
    """What SPICE needs and this machine does not have, in words; None where it has all."""
    if shutil.which("java") is None:
        return "SPICE needs Java, and there is no `java` on this machine; install it"
    package = importlib.util.find_spec("pycocoevalcap")
    places = [] if package is None else list(package.submodule_search_locations or [])
    if not any(all((Path(p) / "spice/lib" / name).is_file() for name in MODELS) for p in places):
        return (
            "SPICE needs Stanford's models, which are not beside its program; "
            "`python -m pycocoevalcap.spice.get_stanford_models` downloads them (400 MB)"
        )
    return None


def spice_score(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float | None:
    """SPICE times 100, of one candidate for each image; None where `lacking_for_spice`.

    The program has a tokenizer of its own. Raises BlipError if it fails.
    """
    if lacking_for_spice() is not None:
        return None
    from pycocoevalcap.spice.spice import Spice

    found = {place: [text] for place, text in enumerate(candidates)}
    expected = {place: [*texts] for place, texts in enumerate(references)}
    try:
        score, _ = Spice().compute_score(expected, found)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise BlipError(f"SPICE's Java program failed: {first_line(error)}") from error
    return 100.0 * float(score)
