"""Pictures are decoded a batch ahead, in order, and errors are those of the reader."""

import threading

import pytest

from blip.capfilt.stages.pictures import open_batches
from blip.data.images import LARGE, count_pixels
from blip.data.sample import Sample
from tests.support.capfilt import picture

SIDES = frozenset({8, 16})


def samples(count: int):
    for number in range(count):
        content = b"broken" if number == 3 else picture("red")
        yield Sample(f"{number}", content, ("red",))


@pytest.mark.parametrize(("size", "decoders"), [(1, 4), (2, 4), (5, 1), (100, 16)])
def test_all_samples_come_in_their_order(size, decoders):
    batches = list(open_batches(samples(7), size, SIDES, decoders))
    opened = [one for batch in batches for one in batch]
    assert [one.sample.key for one in opened] == [f"{number}" for number in range(7)]
    assert all(len(batch) <= size for batch in batches)
    assert [one.fault for one in opened] == [None, None, None, "not_an_image", None, None, None]
    assert {side: t.shape for side, t in opened[0].pictures.items()} == {
        8: (3, 8, 8),
        16: (3, 16, 16),
    }


def test_the_next_batch_is_read_while_this_one_is_worked_on():
    read = [threading.Event() for _ in range(6)]

    def noting():
        for number, sample in enumerate(samples(6)):
            read[number].set()
            yield sample

    batches = open_batches(noting(), 2, SIDES)
    next(batches)
    # Nobody has asked for the second batch, and it comes all the same; the third does not.
    assert read[3].wait(30)
    batches.close()
    assert not read[4].is_set()


def test_what_the_reader_raises_comes_out_behind_what_it_gave():
    def torn():
        yield from samples(2)
        raise OSError("gone")

    batches = open_batches(torn(), 2, SIDES)
    assert len(next(batches)) == 2
    with pytest.raises(OSError, match="gone"):
        next(batches)


def test_the_largest_picture_is_a_choice():
    contents = [Sample("small", picture("red", size=8)), Sample("large", picture("red", size=9))]
    ((small, large),) = open_batches(iter(contents), 2, SIDES, max_pixels=64)
    assert (small.fault, large.fault) == (None, "too_many_pixels")


def test_pixels_are_counted_by_the_header():
    assert count_pixels(picture("red", size=24)) == 24 * 24
    assert count_pixels(picture("red", size=24)[:60]) == 24 * 24 < LARGE
    assert count_pixels(b"<html>") == 0
