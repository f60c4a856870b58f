"""Images beside what was written about them, drawn on one sheet for people to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

SIDE = 160
"""Of a picture on the sheet, in pixels."""
TEXT_WIDTH = 400
MARGIN = 10
FONT_SIZE = 15
LINE = 20
MAX_LINES = SIDE // LINE


class SheetRow(NamedTuple):
    """A picture, the caption that a model wrote, and one that is true."""

    picture: Image.Image
    caption: str
    reference: str


def draw_sheet(rows: Sequence[SheetRow]) -> Image.Image:
    """A row for each picture: its caption in black, the true one in grey below."""
    height = MARGIN + len(rows) * (SIDE + MARGIN)
    sheet = Image.new("RGB", (SIDE + TEXT_WIDTH + 3 * MARGIN, height), "white")
    draw, font = ImageDraw.Draw(sheet), _font()
    for number, row in enumerate(rows):
        top = MARGIN + number * (SIDE + MARGIN)
        sheet.paste(_small(row.picture), (MARGIN, top))
        lines = [(line, "black") for line in wrapped(row.caption or "(nothing)", font)]
        lines += [(line, "gray") for line in wrapped(row.reference, font)]
        for position, (line, colour) in enumerate(lines[:MAX_LINES]):
            draw.text((SIDE + 2 * MARGIN, top + position * LINE), line, colour, font)
    return sheet


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: int = TEXT_WIDTH) -> list[str]:
    """The words of a text in lines no wider than `width` pixels; a longer word is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
        while font.getlength(lines[-1]) > width:
            lines[-1] = lines[-1][:-1]
    return lines


def _small(picture: Image.Image) -> Image.Image:
    """The picture fitted into the square, whatever its size."""
    scale = SIDE / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)


def _font() -> ImageFont.FreeTypeFont:
    # Pillow's own font stops at Latin letters; captions may be in any language.
    import matplotlib

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), FONT_SIZE
    )
