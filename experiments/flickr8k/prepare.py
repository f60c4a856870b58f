"""Flickr8k in the splits of `blip bootstrap`: human pairs, noisy web pairs, val and test.

    python experiments/flickr8k/prepare.py [--out experiments/flickr8k/data]

Reads `flickr8k/train.parquet` and `dev.parquet` below the folder that BLIP_SHARED names (default
`../shared`). The same photos and seed give the same bytes.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyarrow import parquet

from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from blip.errors import BlipError, UsageError
from blip.files import atomic_folder, write_json

HUMAN = 1000
"""Training photos that keep their five captions; the rest are web pairs."""
VAL = 200
"""Photos of dev for val; the rest are test."""
NOISE = 0.4
"""Share of web texts that are not of their photo."""
NOISE_KINDS = {"other_text": 0.5, "file_name": 0.15, "price": 0.1, "seo": 0.25}
"""What stands in place of the caption, and how often."""
PER_SHARD = 500

CAMERAS = ("IMG_{:04d}.JPG", "DSC{:05d}.jpg", "DSCN{:04d}.JPG", "P{:07d}.JPG", "photo-{}.jpeg")
GOODS = ("canvas print", "poster", "t-shirt", "phone case", "mug", "photo book", "framed art")
PHRASES = (
    "buy {goods} online free shipping",
    "{goods} best price {year}",
    "stock photo royalty free download",
    "click here to see more pictures",
    "top {number} {goods} deals of {year}",
    "share this on facebook and twitter",
    "page {number} of {year} archive",
    "sign up for our newsletter today",
    "all rights reserved {year}",
    "related images and wallpapers hd",
)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo with the captions that people wrote."""

    key: str
    image: bytes
    captions: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the four splits and counts.json; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("experiments/flickr8k/data"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    shared = Path(os.environ.get("BLIP_SHARED", "../shared"))
    try:
        counts = prepare(shared / "flickr8k", args.out, args.seed)
    except BlipError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print(f"{args.out}: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    return 0


def prepare(source: Path, out: Path, seed: int = 0) -> dict[str, int]:
    """Write `out/{human,web,val,test}` and `out/counts.json`; returns the counts.

    Raises UsageError if the tables are absent or too small.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 8000]))
    train, dev = (
        _shuffled(read_photos(source / name), rng) for name in ("train.parquet", "dev.parquet")
    )
    if len(train) < HUMAN + 2 or len(dev) <= VAL:
        raise UsageError(f"{source} has {len(train)} and {len(dev)} photos; these are too few")
    kinds: Counter[str] = Counter()
    splits = {
        "human": (_captioned(photo) for photo in train[:HUMAN]),
        "web": _web(train[HUMAN:], rng, kinds),
        "val": (_captioned(photo) for photo in dev[:VAL]),
        "test": (_captioned(photo) for photo in dev[VAL:]),
    }
    counts = {}
    for name, samples in splits.items():
        with atomic_folder(out / name, replaces=("*.tar",)) as part:
            counts[name] = write_shards(samples, part, PER_SHARD)["samples"]
    counts |= {f"web_{kind}": count for kind, count in sorted(kinds.items())}
    write_json(out / "counts.json", {"seed": seed, **counts})
    return counts


def read_photos(path: Path) -> list[Photo]:
    """The rows of a table with `key`, `image` and `caption` (a list), in the order of keys."""
    if not path.is_file():
        raise UsageError(f"{path} is absent; BLIP_SHARED must name the folder that has flickr8k/")
    rows = parquet.read_table(path, columns=["key", "image", "caption"]).to_pylist()
    photos = [
        Photo(row["key"], row["image"], tuple(text.strip() for text in row["caption"]))
        for row in rows
    ]
    return sorted(photos, key=lambda photo: photo.key)


def _shuffled(photos: list[Photo], rng: np.random.Generator) -> list[Photo]:
    return [photos[i] for i in rng.permutation(len(photos))]


def _captioned(photo: Photo) -> Sample:
    return Sample(photo.key, photo.image, photo.captions)


def _web(photos: list[Photo], rng: np.random.Generator, kinds: Counter[str]) -> Iterator[Sample]:
    """One text a photo, of which exactly the share NOISE is noisy; `kinds` counts the kinds."""
    spoilt = set(rng.permutation(len(photos))[: round(NOISE * len(photos))].tolist())
    names, weights = list(NOISE_KINDS), np.array(list(NOISE_KINDS.values()))
    for number, photo in enumerate(photos):
        text, noise = photo.captions[rng.integers(len(photo.captions))], None
        if number in spoilt:
            noise = names[rng.choice(len(names), p=weights / weights.sum())]
            text = other_text(photos, number, rng) if noise == "other_text" else SPOIL[noise](rng)
        kinds[noise or "true"] += 1
        # Only for evaluation: training and filtering do not read it.
        meta = {"truth": {"matches": noise is None, "noise": noise}}
        yield Sample(photo.key, photo.image, (text,), meta)


def other_text(photos: list[Photo], number: int, rng: np.random.Generator) -> str:
    """A caption of another photo, in words that nobody used for this one."""
    own = {text.lower() for text in photos[number].captions}
    while True:
        other = int(rng.integers(len(photos)))
        text = photos[other].captions[rng.integers(len(photos[other].captions))]
        if other != number and text.lower() not in own:
            return text


def file_name(rng: np.random.Generator) -> str:
    """As a camera calls its files."""
    return CAMERAS[rng.integers(len(CAMERAS))].format(int(rng.integers(1, 9999)))


def price(rng: np.random.Generator) -> str:
    """A price, as a shop writes it."""
    goods = GOODS[rng.integers(len(GOODS))]
    return (
        f"{goods} ${rng.integers(2, 90)}.{rng.choice([49, 95, 99])} only {rng.integers(1, 9)} left"
    )


def seo(rng: np.random.Generator) -> str:
    """As pages talk to search engines."""
    return PHRASES[rng.integers(len(PHRASES))].format(
        goods=GOODS[rng.integers(len(GOODS))],
        number=rng.integers(2, 100),
        year=rng.integers(2005, 2016),
    )


SPOIL: dict[str, Callable[[np.random.Generator], str]] = {
    "file_name": file_name,
    "price": price,
    "seo": seo,
}
"""Texts that are of no photo."""


if __name__ == "__main__":
    sys.exit(main())
