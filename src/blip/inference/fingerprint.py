"""The fingerprint of a model: a hash of everything that determines what it computes."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from blip.config.strict import to_json

if TYPE_CHECKING:
    from torch import Tensor

    from blip.data.tokenizer import Tokenizer
    from blip.model.checkpoint.contents import Contents

DIGITS = 20
"""Digits of a fingerprint; earlier versions wrote 16, of the file of the weights alone."""


def fingerprint_model(contents: "Contents", tokenizer: "Tokenizer") -> str:
    """A short hash of sizes, weights and tokenizer, as they are in memory.

    It does not depend on the names, times or layout of files: a converted checkpoint keeps it.
    Hashing takes about a second for a gigabyte on one core.
    """
    with ThreadPoolExecutor() as pool:
        weights = dict(
            zip(contents.tensors, pool.map(_digest, contents.tensors.values()), strict=True)
        )
    whole = [to_json(contents.config, for_fingerprint=True), weights, tokenizer.content]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:DIGITS]


def _digest(tensor: "Tensor") -> str:
    values = tensor.detach().cpu().float().contiguous()
    digest = hashlib.sha256(str(tuple(values.shape)).encode())
    # A view of the same memory, not a copy.
    digest.update(values.flatten().numpy().data)
    return digest.hexdigest()
