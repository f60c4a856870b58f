"""The vocabulary of the scenes: what can be drawn, and its names."""

SHAPES: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "disc"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross",),
    "ring": ("ring",),
    "diamond": ("diamond",),
}
"""Shape to its names, the usual one first."""

PLURALS: dict[str, str] = {
    name: name + ("es" if name.endswith("s") else "s")
    for names in SHAPES.values()
    for name in names
}

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 39, 40),
    "green": (40, 150, 60),
    "blue": (45, 85, 215),
    "yellow": (240, 215, 50),
    "purple": (145, 60, 185),
    "orange": (245, 135, 30),
    "white": (248, 248, 248),
    "black": (25, 25, 25),
}

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "grey": (128, 128, 128),
    "pink": (242, 170, 196),
    "brown": (120, 85, 60),
}

SIZES: dict[str, tuple[str, ...]] = {"small": ("small", "tiny", "little"), "big": ("big", "large")}
"""Size to its names."""

RADII: dict[str, float] = {"small": 0.095, "big": 0.15}
"""Half the extent of an object, as a share of the picture's side."""

PATTERNS: dict[str, tuple[str, ...]] = {
    "solid": ("solid", "plain"),
    "striped": ("striped",),
    "dotted": ("dotted", "spotted"),
}

NUMBERS: dict[str, int] = {"two": 2, "three": 3, "four": 4}

RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}

OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
