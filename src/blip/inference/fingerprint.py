"""Which model it is, by content: a hash of all that decides what it computes."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from blip.config.strict import to_json
from blip.data.tokenizer import Tokenizer
from blip.model.checkpoint.contents import Contents

DIGITS = 20
"""Of a fingerprint. Those of earlier versions have 16 and cover the file of the weights alone."""


def fingerprint_model(contents: Contents, tokenizer: Tokenizer) -> str:
    """A short hash of sizes, weights and tokenizer, as they are in memory.

    It does not depend on names of files, their times or the layout: a checkpoint that was converted
    keeps it. Hashing takes about a second for a gigabyte on one core.
    """
    with ThreadPoolExecutor() as pool:
        weights = dict(
            zip(contents.tensors, pool.map(_digest, contents.tensors.values()), strict=True)
        )
    whole = [to_json(contents.config, former_names=True), weights, tokenizer.content]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:DIGITS]


def _digest(tensor: Tensor) -> str:
    values = tensor.detach().to("cpu", torch.float32).contiguous()
    digest = hashlib.sha256(str(tuple(values.shape)).encode())
    # Read where it is, without a copy.
    digest.update(values.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
