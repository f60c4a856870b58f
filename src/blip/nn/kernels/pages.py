"""Huge memory pages for weights that are read often."""

import ctypes
import sys

from torch import Tensor

from blip.nn.kernels.onednn import ONEDNN

_HUGE_PAGE = 2**21
_COLLAPSE = 25
"""MADV_COLLAPSE, of Linux 6.1 and later."""

READS_BEFORE_HUGE_PAGES = 64
"""A packed weight that is read this often will be read more: it moves into huge pages."""


def hold_in_huge_pages(packed: Tensor) -> None:
    """Let Linux move a tensor in oneDNN's layout into huge pages; its address stays.

    Decoding reads whole weights for a few rows, and with huge pages waits less for address
    translation. Does nothing where the system does not support it. Moving a gigabyte takes about a
    second, so this is only for tensors that are read often.
    """
    if sys.platform != "linux":
        return
    first = ONEDNN.data_ptr(packed)
    last = first + ONEDNN._nbytes(packed)
    # The tensor is not aligned: the pages at its ends hold other data as well.
    start = first // _HUGE_PAGE * _HUGE_PAGE
    end = -(-last // _HUGE_PAGE) * _HUGE_PAGE
    ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _COLLAPSE)
