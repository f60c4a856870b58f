"""`blip.load`: from the name of a checkpoint to a model that can be used."""

from pathlib import Path

import torch

from blip.config.ranges import PrecisionChoice
from blip.inference.checkpoint import open_checkpoint, place_and_format, precision_or_dtype
from blip.inference.loaded_model import LoadedModel


def load(
    source: str | Path,
    device: torch.device | str = "auto",
    *,
    precision: PrecisionChoice | torch.dtype = "float32",
    image_size: int | None = None,
    dtype: torch.dtype | None = None,
    tokenizer: str | Path | None = None,
    heads: tuple[int, int] | None = None,
) -> LoadedModel:
    """Open a checkpoint in any layout, of a `Blip` or of one of the models made of it.

    `source` is a checkpoint folder (ours or Hugging Face's), a run's folder, a file of weights or
    the index of several, `hf:ORG/NAME` or `original:NAME`. `device` is a `torch.device` or one of
    auto (a GPU where there is one), cpu, cuda and cuda:N. `precision` is the number format of the
    weights, in which the model computes: float32, bfloat16, auto (bfloat16 on a GPU that has it,
    else float32), int8 on a CPU, or any floating-point `torch.dtype`; weights that were stored in
    such a type are unchanged, those in int8 cannot be saved again.
    `dtype` is the former name of `precision`. `image_size` (pixels) resizes the position
    embeddings. `tokenizer` names a tokenizer as `Tokenizer.load` does; without it the one beside
    the weights is used, or that of BERT-base (uncased) for released weights. `heads` (vision, text)
    are needed only for files of the original layout whose heads are not 64 wide.

    >>> import blip
    >>> blip.load("runs/captioner").caption("photo.jpg")
    'a dog on a beach'

    Raises UsageError if there is no such checkpoint or device, or a device that does not compute
    in int8, and BlipError for NaN or infinite
    weights, for a truncated or foreign file, and with one list of all tensors that do not fit.
    Nothing that a file contains is executed.
    """
    # Before the weights are read, which may take long.
    place, number_format = place_and_format(device, precision_or_dtype(precision, dtype))
    checkpoint = open_checkpoint(source, tokenizer=tokenizer, heads=heads)
    loaded = checkpoint.load(place, precision=number_format, image_size=image_size)
    return LoadedModel(loaded.model, loaded.tokenizer, str(source), loaded.path)
