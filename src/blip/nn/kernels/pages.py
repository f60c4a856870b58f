"""Huge pages of memory for weights that are read again and again."""

import ctypes
import sys

from torch import Tensor

from blip.nn.kernels.onednn import ONEDNN

_HUGE_PAGE = 2**21
_COLLAPSE = 25
"""MADV_COLLAPSE, of Linux 6.1 and later."""


def hold_in_huge_pages(packed: Tensor) -> None:
    """Let Linux put a tensor in oneDNN's layout into huge pages; its address stays.

    A processor that reads all of it for a few rows, as decoding does, then waits less for
    addresses to be translated. Where the system cannot or may not, nothing changes. To move a
    gigabyte takes about a second, so this is for what is read often.
    """
    if sys.platform != "linux":
        return
    first = ONEDNN.data_ptr(packed)
    last = first + ONEDNN._nbytes(packed)
    # Pages begin where the tensor does not: those at its ends hold something else, too.
    start = first // _HUGE_PAGE * _HUGE_PAGE
    end = -(-last // _HUGE_PAGE) * _HUGE_PAGE
    ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _COLLAPSE)
