"""From the names of checkpoints and of an index to what a service computes."""

from dataclasses import dataclass, replace
from pathlib import Path

from blip.config.ranges import PrecisionChoice
from blip.errors import UsageError
from blip.index.search import Index
from blip.inference.load import load
from blip.model.checkpoint.locate import find_weights
from blip.serve.models import Models


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """What a service opens, wherever it computes."""

    checkpoints: tuple[str, ...]
    filter: str | None
    index: str | None
    device: str
    precision: PrecisionChoice
    max_pixels: int

    def absolute(self) -> "Sources":
        """The same with whole paths, for a process of another working folder."""
        return replace(
            self,
            checkpoints=tuple(map(_absolute, self.checkpoints)),
            filter=None if self.filter is None else _absolute(self.filter),
            index=None if self.index is None else _absolute(self.index),
        )

    def find(self) -> None:
        """Find, and fetch where they are not here, the checkpoints, without loading any.

        Raises what `find_weights` raises.
        """
        for checkpoint in (*self.checkpoints, *filter(None, [self.filter])):
            find_weights(checkpoint)

    def open(self) -> Models:
        """Load everything.

        Raises what `blip.load` and `Index.open` raise, and UsageError where nothing could be
        served, or where the filter cannot match.
        """
        loaded = [self._load(checkpoint) for checkpoint in self.checkpoints]
        judge = None if self.filter is None else self._load(self.filter)
        if judge is not None:
            # Refused now, where it cannot match.
            _ = judge.matcher
        models = Models(loaded, self._open_index(), self.max_pixels, filter=judge)
        if not models.can():
            names = ", ".join(self.checkpoints)
            raise UsageError(f"{names} can do none of what `blip serve` offers")
        return models

    def _load(self, checkpoint: str):
        return load(checkpoint, self.device, precision=self.precision)

    def _open_index(self) -> Index | None:
        if self.index is None:
            return None
        return Index.open(
            self.index,
            device=self.device,
            precision=self.precision,
            max_pixels=self.max_pixels,
        )


def _absolute(place: str) -> str:
    """The whole path of what is in a file system; other names as they are."""
    return str(Path(place).absolute()) if Path(place).exists() else place
