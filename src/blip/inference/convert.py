"""Convert a checkpoint from one layout to another."""

import copy
import json
from pathlib import Path
from typing import Literal, assert_never

from tokenizers.processors import TemplateProcessing

from blip.data.tokenizer import CLS, DEC, ENC, MASK, PAD, SEP, UNK, Tokenizer, save_backend
from blip.data.transforms import MEAN, STD
from blip.errors import UsageError
from blip.files import atomic_folder, write_json
from blip.inference.checkpoint import open_contents, open_tokenizer
from blip.model.checkpoint.contents import Contents
from blip.model.checkpoint.huggingface import SpecialIds
from blip.model.checkpoint.written import write_huggingface, write_original, write_ours
from blip.outputs import refuse_inputs_as_output

Layout = Literal["blip", "hf", "original"]

BICUBIC = 3
"""As Pillow numbers its filters."""


def convert(
    source: str | Path,
    destination: Path,
    to: Layout,
    *,
    task: Literal["caption", "itm"] | None = None,
    image_size: int | None = None,
    tokenizer: str | Path | None = None,
    heads: tuple[int, int] | None = None,
) -> Contents:
    """Write the checkpoint `source`, as `blip.load` takes it, in another layout.

    Returns its contents. `destination` is a folder, or a `.pth` file for the original layout, which
    holds no tokenizer; it is written beside and renamed into place. `task` keeps only the half of a
    MED that writes captions, or the half that matches. Raises UsageError if the layout has no
    place for this model, and what `blip.load` raises.
    """
    refuse_inputs_as_output([source, *([] if tokenizer is None else [tokenizer])], destination)
    _check(destination, to)
    if to == "original" and tokenizer is not None:
        raise UsageError(f"the original layout holds no tokenizer, got {tokenizer}")
    contents, path = open_contents(source, image_size=image_size, heads=heads, momentum=True)
    if task is not None:
        contents = contents.for_task(task)
    # Refuse tensors that do not fit together before anything is written.
    contents.model()
    match to:
        case "original":
            destination.parent.mkdir(parents=True, exist_ok=True)
            write_original(contents, destination)
        case "blip":
            opened = open_tokenizer(contents, path, tokenizer)
            with atomic_folder(destination) as folder:
                write_ours(contents, folder)
                opened.save(folder)
        case "hf":
            opened = open_tokenizer(contents, path, tokenizer)
            with atomic_folder(destination) as folder:
                ids = SpecialIds(dec=opened.dec_id, sep=opened.sep_id, pad=opened.pad_id)
                write_huggingface(contents, ids, folder)
                _write_processor(opened, contents.config.vision.image_size, folder)
        case _ as never:
            assert_never(never)
    return contents


def _check(destination: Path, to: Layout) -> None:
    """Raise UsageError for a destination that exists, or that does not suit the layout."""
    if to == "original" and destination.suffix != ".pth":
        raise UsageError(f"the original layout is a file NAME.pth, got {destination}")
    if to != "original" and destination.suffix == ".pth":
        raise UsageError(f"{to} is a folder, got {destination}; a .pth is for the original layout")
    if destination.exists():
        raise UsageError(f"{destination} already exists; remove it, or name another place")


def _write_processor(tokenizer: Tokenizer, image_size: int, folder: Path) -> None:
    """Write the files by which transformers prepares texts and pictures for this model."""
    backend = copy.deepcopy(tokenizer.backend)
    # Our tokenizer adds start and end tokens itself; transformers reads them from the file.
    backend.post_processor = TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B {SEP}",
        special_tokens=[(CLS, tokenizer.cls_id), (SEP, tokenizer.sep_id)],
    )
    save_backend(backend, folder)
    write_json(folder / "tokenizer_config.json", _tokenizer_config(tokenizer))
    write_json(folder / "preprocessor_config.json", _picture_config(image_size))


def _tokenizer_config(tokenizer: Tokenizer) -> dict[str, object]:
    normalizer = json.loads(tokenizer.backend.to_str())["normalizer"] or {}
    return {
        "tokenizer_class": "BertTokenizer",
        "processor_class": "BlipProcessor",
        "do_lower_case": normalizer.get("lowercase", True),
        "strip_accents": normalizer.get("strip_accents"),
        "model_max_length": 512,
        "model_input_names": ["input_ids", "attention_mask"],
        "pad_token": PAD,
        "unk_token": UNK,
        "cls_token": CLS,
        "sep_token": SEP,
        "mask_token": MASK,
        "additional_special_tokens": [DEC, ENC],
    }


def _picture_config(image_size: int) -> dict[str, object]:
    return {
        "image_processor_type": "BlipImageProcessor",
        "processor_class": "BlipProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": image_size, "width": image_size},
        "resample": BICUBIC,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }
