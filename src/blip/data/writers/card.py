"""Files beside shards for other readers: the samples of each shard, and which files are data."""

import os
from collections.abc import Mapping
from pathlib import Path

from blip.data.readers.patterns import SIZES
from blip.files import write_atomically, write_json

CARD = "README.md"
_CARD = """\
---
configs:
- config_name: default
  data_files: "*.tar"
---
"""


def describe_shards(folder: Path, sizes: Mapping[str, int]) -> None:
    """Write `sizes.json` and `README.md` beside shards; `sizes` holds each tar's samples by name.

    WebDataset and open_clip read `sizes.json`; `datasets` would take it for data, were it not for
    the card, which names the tars. A README.md that is there stays as it is.
    """
    write_json(folder / SIZES, dict(sizes))
    if sizes and not os.path.lexists(folder / CARD):
        write_atomically(folder / CARD, _CARD)
