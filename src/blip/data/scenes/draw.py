"""Draws scenes as pictures, anti-aliased by drawing large and shrinking."""

import itertools
import math

import numpy as np
from PIL import Image, ImageDraw

from blip.data.scenes.scene import Scene, Thing
from blip.data.scenes.words import BACKGROUNDS, COLOURS, RADII

OVERSAMPLING = 4
JITTER = 8
"""Largest deviation of a painted colour from the named one, in each channel."""

GRAIN = 0.08
"""Distance between stripes and between dots, as a share of the side."""


def paint(
    scene: Scene, size: int, rng: np.random.Generator, object_scale: float = 1.0
) -> Image.Image:
    """A picture of `size` x `size` pixels, RGB; `rng` varies the colours a little."""
    side = size * OVERSAMPLING
    image = Image.new("RGB", (side, side), _vary(BACKGROUNDS[scene.background], rng))
    for thing in scene.things:
        mask = Image.new("L", (side, side), 0)
        _outline(ImageDraw.Draw(mask), thing, side, object_scale)
        image.paste(_fill(thing, side, rng), mask=mask)
    return image.resize((size, size), Image.Resampling.BOX)


def _vary(colour: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(np.clip(c + rng.integers(-JITTER, JITTER + 1), 0, 255)) for c in colour)
    return red, green, blue


def _fill(thing: Thing, side: int, rng: np.random.Generator) -> Image.Image:
    colour = _vary(COLOURS[thing.colour], rng)
    image = Image.new("RGB", (side, side), colour)
    light = (70, 70, 70) if thing.colour in ("white", "yellow") else (255, 255, 255)
    draw = ImageDraw.Draw(image)
    # Patterns start at the object's centre, so that small objects show them too.
    step, x, y = GRAIN * side, thing.x * side, thing.y * side
    numbers = np.arange(-3, 3)
    if thing.pattern == "striped":
        for offset in numbers * step:
            draw.rectangle((0, y + offset - 0.2 * step, side, y + offset + 0.2 * step), fill=light)
    elif thing.pattern == "dotted":
        # Put dots around the centre or onto it, whichever the shape covers.
        offsets = (numbers + (0.5 if thing.shape in ("circle", "ring", "square") else 0.0)) * step
        radius = 0.3 * step
        for dx, dy in itertools.product(offsets, offsets):
            centre = (x + dx, y + dy)
            draw.ellipse((*(c - radius for c in centre), *(c + radius for c in centre)), fill=light)
    return image


def _outline(draw: ImageDraw.ImageDraw, thing: Thing, side: int, scale: float) -> None:
    x, y, r = thing.x * side, thing.y * side, RADII[thing.size] * side * scale
    box = (x - r, y - r, x + r, y + r)
    match thing.shape:
        case "circle":
            draw.ellipse(box, fill=255)
        case "ring":
            draw.ellipse(box, fill=255)
            inner = 0.5 * r
            draw.ellipse((x - inner, y - inner, x + inner, y + inner), fill=0)
        case "square":
            edge = 0.88 * r
            draw.rectangle((x - edge, y - edge, x + edge, y + edge), fill=255)
        case "diamond":
            draw.polygon([(x, y - r), (x + 0.75 * r, y), (x, y + r), (x - 0.75 * r, y)], fill=255)
        case "triangle":
            draw.polygon([(x, y - r), (x + r, y + 0.8 * r), (x - r, y + 0.8 * r)], fill=255)
        case "cross":
            arm = 0.34 * r
            draw.rectangle((x - r, y - arm, x + r, y + arm), fill=255)
            draw.rectangle((x - arm, y - r, x + arm, y + r), fill=255)
        case _:
            draw.polygon(_star(x, y, r), fill=255)


def _star(x: float, y: float, r: float) -> list[tuple[float, float]]:
    corners = []
    for corner in range(10):
        reach = r * (1.03 if corner % 2 == 0 else 0.45)
        angle = math.pi * corner / 5 - math.pi / 2
        corners.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    return corners
