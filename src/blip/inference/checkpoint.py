"""Opening and writing whole checkpoints: a model, its tokenizer, and where they came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, overload

import torch
from torch import Tensor

from blip.data.tokenizer import Tokenizer, find_tokenizer
from blip.errors import BlipError, UsageError
from blip.files import fingerprint_file
from blip.model.blip import Blip
from blip.model.checkpoint.contents import Contents, read_contents
from blip.model.checkpoint.locate import find_weights
from blip.model.checkpoint.released import VOCABULARY
from blip.model.checkpoint.sizes import Heads
from blip.model.checkpoint.written import write_ours
from blip.model.config import ModelConfig, TextConfig
from blip.model.make import Model
from blip.model.pair import PairModel
from blip.model.question import QuestionModel

AnyModel = TypeVar("AnyModel", bound=Model, covariant=True)

KINDS: dict[type[Model], str] = {
    Blip: "a MED, for captions and matches",
    QuestionModel: "a model for questions (VQA)",
    PairModel: "a model for pairs of images (NLVR2)",
}
"""What a kind of model is called in messages."""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[AnyModel]):
    """What a checkpoint holds; the model is in evaluation mode."""

    model: AnyModel
    tokenizer: Tokenizer
    path: Path
    """The file of the weights."""

    @property
    def config(self) -> ModelConfig:
        """Sizes of the model."""
        return self.model.config

    @property
    def fingerprint(self) -> str:
        """Of the weights; the ledger names captioner and filter by it."""
        return fingerprint_file(self.path)


def load(
    source: str | Path,
    device: torch.device | str = "cpu",
    *,
    dtype: torch.dtype = torch.float32,
    image_size: int | None = None,
    tokenizer: str | Path | None = None,
    heads: tuple[int, int] | None = None,
) -> Loaded[Model]:
    """Open a checkpoint in any layout: a `Blip`, a `QuestionModel` or a `PairModel`.

    `source` is a checkpoint folder (ours or Hugging Face's), a run's folder, a file of weights,
    `hf:ORG/NAME` or `original:NAME`. The weights are brought to `dtype`, in which the model then
    computes: bfloat16 is faster on a GPU. `image_size` (pixels) resizes the position embeddings.
    `tokenizer` is as `Tokenizer.load` takes it; without it the one beside the weights is taken, or
    for released weights that of BERT-base (uncased). `heads`, of vision and text, are needed only
    for files of the original layout whose heads are not 64 wide.

    Raises UsageError where there is no such checkpoint, and BlipError, with one list of all that
    does not fit, for a torn or foreign one; nothing that a file contains is executed.
    """
    contents, path = open_contents(source, image_size=image_size, heads=heads)
    model = contents.model()
    return Loaded(model.to(device, dtype), open_tokenizer(contents, path, tokenizer), path)


@overload
def load_model(
    source: str | Path,
    device: torch.device | str = "cpu",
    *,
    dtype: torch.dtype = torch.float32,
    image_size: int | None = None,
) -> Loaded[Blip]: ...
@overload
def load_model(
    source: str | Path,
    device: torch.device | str = "cpu",
    *,
    of: type[AnyModel],
    dtype: torch.dtype = torch.float32,
    image_size: int | None = None,
) -> Loaded[AnyModel]: ...
def load_model(
    source: str | Path,
    device: torch.device | str = "cpu",
    *,
    of: type[Model] = Blip,
    dtype: torch.dtype = torch.float32,
    image_size: int | None = None,
) -> Loaded[Model]:
    """Open a checkpoint that must hold a model `of` some kind; raises UsageError for others.

    `dtype` and `image_size` are as `load` takes them.
    """
    loaded = load(source, device, dtype=dtype, image_size=image_size)
    if not isinstance(loaded.model, of):
        raise UsageError(f"{source} holds {KINDS[type(loaded.model)]}; needed is {KINDS[of]}")
    return loaded


def open_contents(
    source: str | Path,
    *,
    image_size: int | None = None,
    heads: tuple[int, int] | None = None,
    momentum: bool = False,
) -> tuple[Contents, Path]:
    """Sizes and tensors of what `source` names, as `load` takes it, and the file of the weights."""
    path = find_weights(source)
    contents = read_contents(path, None if heads is None else Heads(*heads), momentum=momentum)
    return contents.at_image_size(image_size), path


def open_tokenizer(contents: Contents, weights: Path, given: str | Path | None) -> Tokenizer:
    """The tokenizer of a model: the given one, the one beside its weights, or that of BERT-base.

    Raises UsageError where there is none, and BlipError where its size is not the model's.
    """
    found = find_tokenizer(weights.parent) if given is None else given
    words = contents.config.text.vocabulary_size
    if found is None and words == TextConfig().vocabulary_size:
        found = VOCABULARY
    if found is None:
        raise UsageError(
            f"beside {weights} lies neither tokenizer.json nor vocab.txt; put one there, "
            "or name one to `blip convert --tokenizer`"
        )
    tokenizer = Tokenizer.load(found)
    if tokenizer.vocabulary_size != words:
        raise BlipError(
            f"{found}: the tokenizer has {tokenizer.vocabulary_size} tokens, the model {words}"
        )
    return tokenizer


def save_model(
    model: Model,
    tokenizer: Tokenizer,
    folder: Path,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint into `folder`, which exists (an atomic folder, where it must be whole).

    `weights` stand for the model's own, where these are sharded over processes.
    """
    state = model.state_dict() if weights is None else weights
    tensors = {name: tensor.detach() for name, tensor in state.items()}
    write_ours(Contents(model.config, tensors, where=str(folder)), folder)
    tokenizer.save(folder)


def fingerprint(source: str | Path) -> str:
    """A short hash of the weights that `source` names."""
    return fingerprint_file(find_weights(source))
