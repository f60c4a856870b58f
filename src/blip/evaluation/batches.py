"""The batches of an evaluation, with a progress bar where a person waits for them."""

from collections.abc import Iterator
from contextlib import nullcontext

from blip.log import progress


def in_batches(
    places: range, size: int, doing: str, noun: str, *, show_progress: bool
) -> Iterator[range]:
    """At most `size` of the places at a time; the bar counts them as `noun` once they are done."""
    shown = progress(len(places), doing, noun) if show_progress else nullcontext()
    with shown as bar:
        for start in places[::size]:
            some = range(start, min(start + size, places.stop))
            yield some
            if bar is not None:
                bar.advance(len(some))
