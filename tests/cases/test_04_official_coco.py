"""Case 04: COCO's own captions file, and Karpathy's layout without "raw", are read."""

from pathlib import Path

from blip.cli.main import main
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from tests.support.generators import run_generator


def packed(folder: Path, name: str) -> dict[str, tuple[str, ...]]:
    assert main(["data", "pack", str(folder / name), str(folder / f"{name}-out")]) == 0
    [shard] = expand([str(folder / f"{name}-out")])
    return {sample.key: sample.texts for sample in read_shard(shard)}


def test_pack(tmp_path: Path) -> None:
    folder = run_generator("04-official-coco", tmp_path)
    assert packed(folder, "captions_mini.json") == {
        f"{n:012d}": (f"text 0 of {n}", f"text 1 of {n}") for n in (1, 2)
    }
    assert packed(folder, "tokens_only.json") == {"000000000001": ("a wall",)}
