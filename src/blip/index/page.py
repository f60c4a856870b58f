"""The page of a search: thumbnails of what was found, in one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from blip.index.duplicates import Group
from blip.index.search import Hit
from blip.index.store import Row
from blip.pages.pictures import thumbnail
from blip.pages.render import render_page

TEMPLATE = Path(__file__).parent / "templates/search.html"


def draw_hits(asked: str, hits: Sequence[Hit], pictures: Sequence[Image.Image | None]) -> str:
    """The page of what a query `asked` for; `pictures[i]` is that of `hits[i]`."""
    cards = [
        _card(hit.row, picture, cosine=hit.cosine, probability=hit.probability)
        for hit, picture in zip(hits, pictures, strict=True)
    ]
    return render_page(TEMPLATE, title=asked, found=f"{len(hits)} found", groups=[cards])


def draw_groups(
    threshold: float, groups: Sequence[Group], pictures: Sequence[Image.Image | None]
) -> str:
    """The page of near-duplicates; `pictures` are those of all members, group after group."""
    rest = iter(pictures)
    cards = [
        [_card(member.row, next(rest), cosine=member.cosine) for member in group]
        for group in groups
    ]
    found = f"{len(groups)} groups with cosines of at least {threshold}"
    return render_page(TEMPLATE, title="near-duplicates", found=found, groups=cards)


def _card(
    row: Row,
    picture: Image.Image | None,
    *,
    cosine: float,
    probability: float | None = None,
) -> dict[str, Any]:
    return {
        "picture": None if picture is None else thumbnail(picture),
        "key": row.key,
        "place": row.place,
        "texts": row.texts,
        "cosine": f"{cosine:+.3f}",
        "probability": None if probability is None else f"{probability:.3f}",
    }
