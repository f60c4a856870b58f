"""Released checkpoints: their names, and how to download them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blip.errors import BlipError, UsageError, first_line
from blip.locks import wait_for_lock
from blip.log import say

ORIGINAL_URL = "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/"
VOCABULARY = "google-bert/bert-base-uncased"
"""The tokenizer of every released model."""


@dataclass(frozen=True, slots=True)
class Release:
    """A published checkpoint."""

    name: str
    """As `blip.load` takes it: `original:NAME` or `hf:ORG/NAME`."""
    task: Literal["pretrain", "retrieval", "caption", "vqa", "nlvr", "itm"]
    vision: Literal["ViT-B/16", "ViT-L/16"]
    pixels: int
    data: str


RELEASES = (
    Release("original:model_base_14M", "pretrain", "ViT-B/16", 224, "14 M"),
    Release("original:model_base", "pretrain", "ViT-B/16", 224, "129 M"),
    Release("original:model_base_capfilt_large", "pretrain", "ViT-B/16", 224, "129 M, CapFilt-L"),
    Release("original:model_large", "pretrain", "ViT-L/16", 224, "129 M"),
    Release("original:model_base_retrieval_coco", "retrieval", "ViT-B/16", 384, "COCO"),
    Release("original:model_large_retrieval_coco", "retrieval", "ViT-L/16", 384, "COCO"),
    Release("original:model_base_retrieval_flickr", "retrieval", "ViT-B/16", 384, "Flickr30k"),
    Release("original:model_large_retrieval_flickr", "retrieval", "ViT-L/16", 384, "Flickr30k"),
    Release("original:model_base_caption_capfilt_large", "caption", "ViT-B/16", 384, "COCO"),
    Release("original:model_large_caption", "caption", "ViT-L/16", 384, "COCO"),
    Release("original:model_base_vqa_capfilt_large", "vqa", "ViT-B/16", 480, "VQA v2"),
    Release("original:model_base_nlvr", "nlvr", "ViT-B/16", 384, "NLVR2"),
    Release("hf:Salesforce/blip-image-captioning-base", "caption", "ViT-B/16", 384, "COCO"),
    Release("hf:Salesforce/blip-image-captioning-large", "caption", "ViT-L/16", 384, "COCO"),
    Release("hf:Salesforce/blip-itm-base-coco", "itm", "ViT-B/16", 384, "COCO"),
    Release("hf:Salesforce/blip-itm-large-coco", "itm", "ViT-L/16", 384, "COCO"),
    Release("hf:Salesforce/blip-itm-base-flickr", "itm", "ViT-B/16", 384, "Flickr30k"),
    Release("hf:Salesforce/blip-itm-large-flickr", "itm", "ViT-L/16", 384, "Flickr30k"),
    Release("hf:Salesforce/blip-vqa-base", "vqa", "ViT-B/16", 384, "VQA v2"),
    Release("hf:Salesforce/blip-vqa-capfilt-large", "vqa", "ViT-B/16", 384, "VQA v2"),
)
"""Pixels are those of the published configuration; the shapes in a file take precedence."""

_WEIGHTS = (
    ("model.safetensors",),
    ("model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin",),
    ("pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
)
"""Files of weights in a repository of the hub, and patterns of the files that belong to them; the
first that exists is downloaded."""

NOTHING_LEFT = 416
"""HTTP status: the requested range lies past the end of the file."""


def fetch_original(name: str, url: str = ORIGINAL_URL) -> Path:
    """The `.pth` of the original release, from the cache or downloaded into it.

    An interrupted download is resumed. Raises UsageError for an unknown name, and BlipError if
    the file is neither cached nor can be downloaded.
    """
    known = [r.name.removeprefix("original:") for r in RELEASES if r.name.startswith("original:")]
    name = name.removesuffix(".pth")
    if name not in known:
        raise UsageError(
            f"original:{name} is not a released checkpoint; choose one of {', '.join(known)}"
        )
    from huggingface_hub.constants import HF_HOME

    path = Path(HF_HOME) / "blip" / f"{name}.pth"
    if path.is_file():
        return path
    # Two processes that append to the same part would leave a broken file.
    with wait_for_lock(path.with_name(f".{path.name}.lock")):
        if not path.is_file():
            _download(f"{url}{name}.pth", path)
    return path


def _download(url: str, path: Path) -> None:
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get

    if HF_HUB_OFFLINE:
        raise BlipError(
            f"{path.name} is not in the cache, and HF_HUB_OFFLINE forbids downloading it"
        )
    part = path.with_name(f"{path.name}.incomplete")
    say(f"downloading {url} to {path}")
    try:
        with part.open("ab") as file:
            http_get(url, file, resume_size=file.tell(), displayed_filename=path.name)
            file.flush()
            os.fsync(file.fileno())
    # The library passes on whatever its HTTP client raises.
    except Exception as error:
        then = "continues where it stopped"
        response = error.response if isinstance(error, HfHubHTTPError) else None
        if response is not None and response.status_code == NOTHING_LEFT:
            # The part is as long as the file or longer, and may be anything.
            part.unlink(missing_ok=True)
            then = "fetches it anew"
        raise BlipError(
            f"{url} cannot be downloaded ({first_line(error)}); the same command {then}"
        ) from error
    part.replace(path)


def fetch_huggingface(name: str) -> Path:
    """The folder of a model on the Hugging Face hub, from the cache or downloaded into it.

    Raises BlipError if it is neither cached nor can be downloaded.
    """
    from huggingface_hub import model_info, snapshot_download

    more_files = ["config.json", "tokenizer.json", "vocab.txt"]
    reason: Exception | None = None
    # The library passes on whatever its HTTP client raises.
    try:
        try:
            # Not list_repo_files, which retries for half a minute where there is no network.
            names = {file.rfilename for file in model_info(name).siblings or ()}
            weights = next((files for files in _WEIGHTS if files[0] in names), _WEIGHTS[0])
        except Exception as error:
            # Without the hub the cache may have the model; if not, the next call raises.
            reason = error
            weights = tuple(file for files in _WEIGHTS for file in files)
        folder = Path(snapshot_download(name, allow_patterns=[*more_files, *weights]))
        if reason is not None and not any((folder / of[0]).is_file() for of in _WEIGHTS):
            # Another program, or a download that was stopped, left the rest alone in the cache.
            raise reason
        return folder
    except Exception as error:
        raise BlipError(
            f"hf:{name} can neither be downloaded nor found in the cache: "
            f"{first_line(reason or error)}"
        ) from error
