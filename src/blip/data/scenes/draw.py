"""Scenes to pictures: anti-aliased by drawing large and shrinking."""

import math

import numpy as np
from PIL import Image, ImageDraw

from blip.data.scenes.scene import Scene, Thing
from blip.data.scenes.words import BACKGROUNDS, COLOURS, RADII

OVERSAMPLING = 4
JITTER = 8
"""How far a painted colour may stray from its name's, in each channel."""


def paint(scene: Scene, size: int, rng: np.random.Generator) -> Image.Image:
    """A picture of `size` x `size` pixels, RGB; `rng` varies the colours a little."""
    side = size * OVERSAMPLING
    image = Image.new("RGB", (side, side), _stray(BACKGROUNDS[scene.background], rng))
    for thing in scene.things:
        mask = Image.new("L", (side, side), 0)
        _outline(ImageDraw.Draw(mask), thing, side)
        image.paste(_fill(thing, side, rng), mask=mask)
    return image.resize((size, size), Image.Resampling.BOX)


def _stray(colour: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(np.clip(c + rng.integers(-JITTER, JITTER + 1), 0, 255)) for c in colour)
    return red, green, blue


def _fill(thing: Thing, side: int, rng: np.random.Generator) -> Image.Image:
    colour = _stray(COLOURS[thing.colour], rng)
    image = Image.new("RGB", (side, side), colour)
    light = (70, 70, 70) if thing.colour in ("white", "yellow") else (255, 255, 255)
    draw = ImageDraw.Draw(image)
    step = side / 14
    if thing.pattern == "striped":
        for row in range(14):
            draw.rectangle((0, row * step, side, (row + 0.4) * step), fill=light)
    elif thing.pattern == "dotted":
        for row in range(14):
            for column in range(14):
                x, y = (column + 0.5) * step, (row + 0.5) * step
                radius = 0.28 * step
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=light)
    return image


def _outline(draw: ImageDraw.ImageDraw, thing: Thing, side: int) -> None:
    x, y, r = thing.x * side, thing.y * side, RADII[thing.size] * side
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
        reach = r * (1.1 if corner % 2 == 0 else 0.45)
        angle = math.pi * corner / 5 - math.pi / 2
        corners.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    return corners
