"""The ranges of what weights are multiplied by, over some pictures: static int8 needs them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from blip.errors import UsageError
from blip.export.captioner import OnnxCaptioner
from blip.export.exported import ExportedModel
from blip.export.matcher import OnnxMatcher
from blip.export.names import GREATEST, LEAST
from blip.export.sessions import Graphs
from blip.generation.config import DecodingConfig
from blip.inference.base import batches
from blip.inference.pixels import Picture

PICTURES = 8
"""That go through the model together."""
MAX_TOKENS = 30
"""Of the captions that are written and matched."""

Ranges = dict[str, tuple[float, float]]
"""The least and the greatest of what a weight, by its name, is multiplied by."""


class Observer:
    """Runs graphs that give out ranges (`Builder.observes`), and keeps the widest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ranges: Ranges = {}
        self._graphs = Graphs(folder)

    def run(self, name: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of a graph."""
        found = self._graphs.run(name, inputs)
        for key, value in found.items():
            if key.startswith(LEAST):
                weight = key.removeprefix(LEAST)
                low, high = float(value), float(found[GREATEST + weight])
                before = self.ranges.get(weight, (low, high))
                self.ranges[weight] = (min(low, before[0]), max(high, before[1]))
        return found


def calibrate(model: ExportedModel, pictures: Iterable[Picture]) -> Ranges:
    """Ranges over pictures, which are captioned, and matched to these captions.

    The graphs of `model` must be run by an `Observer`. A model without a decoder has no captions:
    there are then no ranges of texts. Raises UsageError if there are no pictures.
    """
    observer = model.graphs
    assert isinstance(observer, Observer)
    for batch in batches(pictures, PICTURES):
        if "causal" in model.config.modes:
            _read_texts(model, batch)
        else:
            _read_pictures(model, batch)
    if not observer.ranges:
        raise UsageError("static int8 needs pictures to calibrate by, got none")
    return observer.ranges


def _read_texts(model: ExportedModel, pictures: Sequence[Picture]) -> None:
    longest = min(MAX_TOKENS, model.config.text.positions)
    greedy = DecodingConfig(kind="greedy", max_length=longest, min_length=min(5, longest))
    captions = OnnxCaptioner(model).caption(pictures, greedy)
    if "bidirectional" in model.config.modes:
        OnnxMatcher(model).scores(pictures, [[caption] for caption in captions])


def _read_pictures(model: ExportedModel, pictures: Sequence[Picture]) -> None:
    states = OnnxMatcher(model).encode(pictures)
    model.image_features(states)
    model.project_image(states, "bidirectional")
