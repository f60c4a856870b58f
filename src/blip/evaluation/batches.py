"""The batches of an evaluation, with a progress bar where a person waits for them."""

from collections.abc import Iterator
from contextlib import nullcontext

from blip import dist
from blip.log import progress


def in_batches(
    places: range, size: int, doing: str, noun: str, *, show_progress: bool
) -> Iterator[range]:
    """At most `size` of the places at a time; the bar counts them as `noun` once they are done.

    Of several processes the first shows its own.
    """
    shows = show_progress and dist.is_main()
    shown = progress(len(places), doing, noun) if shows else nullcontext()
    with shown as bar:
        for start in places[::size]:
            some = range(start, min(start + size, places.stop))
            yield some
            if bar is not None:
                bar.advance(len(some))
