"""A configuration that cannot be drawn is refused by name."""

import subprocess
import sys
from typing import Any

import pytest

from blip.data.scenes.config import ScenesConfig


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"image_size": 8}, "`image_size` is 8; allowed: a whole number from 16 "),
        ({"max_objects": 4}, "max_objects"),
        ({"min_objects": 3, "max_objects": 2}, "min_objects"),
        ({"min_objects": 2, "shapes": ("star",), "colours": ("red",)}, "min_objects"),
        (
            {"max_objects": 3, "object_scale": 1.2},
            "`object_scale` is 1.2; allowed: a finite number from 0.5 to 1.0",
        ),
        ({"max_objects": 2, "object_scale": 1.4}, "object_scale"),
        ({"max_count": 5}, "max_count"),
        ({"shapes": ("blob",)}, "`shapes` is blob"),
        ({"shapes": ("star", "star")}, "`shapes` is star, star"),
        ({"colours": ()}, "`colours` is empty"),
        ({"noise": 1.5}, "`noise` is 1.5; allowed: a finite number from 0 to 1"),
        ({"groups": -0.1}, "groups"),
        ({"noise_kinds": {"typo": 1.0}}, "`noise_kinds` is typo"),
        ({"noise_kinds": {"truncated": 0.0}}, "noise_kinds"),
        ({"noise_kinds": {"truncated": 2.0, "file_name": -1.0}}, "noise_kinds"),
        ({"noise_kinds": {}}, "noise_kinds"),
        ({"web": 0}, "`web` is 0; allowed: a whole number from 1 "),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_values_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ScenesConfig(**changes)


def test_loads_no_torch() -> None:
    code = "import sys, blip.data.scenes.config; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
