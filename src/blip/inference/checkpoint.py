"""Open and write checkpoints: a model, its tokenizer, and the file that they came from."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, overload

import torch
from torch import Tensor

from blip.config.ranges import PrecisionChoice
from blip.data.tokenizer import Tokenizer, find_tokenizer
from blip.errors import BlipError, UsageError
from blip.inference.fingerprint import fingerprint_model
from blip.model.blip import Blip
from blip.model.checkpoint.contents import Contents, read_contents
from blip.model.checkpoint.locate import find_weights
from blip.model.checkpoint.released import VOCABULARY
from blip.model.checkpoint.sizes import Heads
from blip.model.checkpoint.written import write_ours
from blip.model.config import ModelConfig, TextConfig
from blip.model.dialogue import DialogueModel
from blip.model.int8 import to_int8
from blip.model.make import Model
from blip.model.pair import PairModel
from blip.model.question import QuestionModel
from blip.nn.device import NumberFormat, choose_device, choose_format

AnyModel = TypeVar("AnyModel", bound=Model, covariant=True)

KINDS: dict[type[Model], str] = {
    Blip: "a MED (captions or matches)",
    QuestionModel: "a model for questions (VQA)",
    PairModel: "a model for pairs of images (NLVR2)",
    DialogueModel: "a model for dialogues (VisDial)",
}
"""Kinds of models as messages call them."""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[AnyModel]):
    """The model of a checkpoint, in evaluation mode, and its tokenizer."""

    model: AnyModel
    tokenizer: Tokenizer
    path: Path
    """The file of the weights."""

    @property
    def config(self) -> ModelConfig:
        """Sizes of the model."""
        return self.model.config


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint read into memory: a file that changes later does not change it."""

    source: str
    """As the caller named it."""
    contents: Contents
    tokenizer: Tokenizer
    path: Path
    """The file of the weights, or the index of several."""

    def fingerprint(self) -> str:
        """A short hash of weights, tokenizer and sizes: results record the model that made them."""
        return fingerprint_model(self.contents, self.tokenizer)

    def load(
        self,
        device: torch.device | str = "cpu",
        *,
        precision: PrecisionChoice | torch.dtype = "float32",
        image_size: int | None = None,
    ) -> Loaded[Model]:
        """The model, of any kind; arguments and errors are those of `blip.load`."""
        place, number_format = place_and_format(device, precision)
        model = self.contents.at_image_size(image_size).model()
        if number_format == "int8":
            to_int8(model)
        else:
            model = model.to(place, number_format)
        return Loaded(model, self.tokenizer, self.path)

    def load_as(
        self,
        of: type[AnyModel],
        device: torch.device | str = "cpu",
        *,
        precision: PrecisionChoice | torch.dtype = "float32",
        image_size: int | None = None,
    ) -> Loaded[AnyModel]:
        """The model, which must be `of` this kind; raises UsageError for other kinds."""
        loaded = self.load(device, precision=precision, image_size=image_size)
        if not isinstance(loaded.model, of):
            raise UsageError(
                f"{self.source} holds {KINDS[type(loaded.model)]}; this needs {KINDS[of]}"
            )
        return Loaded(loaded.model, loaded.tokenizer, loaded.path)


@overload
def load_model(
    source: str | Path,
    device: torch.device | str = "cpu",
    *,
    precision: PrecisionChoice | torch.dtype = "float32",
    image_size: int | None = None,
    dtype: torch.dtype | None = None,
) -> Loaded[Blip]: ...
@overload
def load_model(
    source: str | Path,
    device: torch.device | str = "cpu",
    *,
    of: type[AnyModel],
    precision: PrecisionChoice | torch.dtype = "float32",
    image_size: int | None = None,
    dtype: torch.dtype | None = None,
) -> Loaded[AnyModel]: ...
def load_model(
    source: str | Path,
    device: torch.device | str = "cpu",
    *,
    of: type[Model] = Blip,
    precision: PrecisionChoice | torch.dtype = "float32",
    image_size: int | None = None,
    dtype: torch.dtype | None = None,
) -> Loaded[Model]:
    """Open a checkpoint that must hold a model `of` this kind; raises UsageError for other kinds.

    The other arguments and errors are those of `blip.load`.
    """
    place, number_format = place_and_format(device, precision_or_dtype(precision, dtype))
    checkpoint = open_checkpoint(source)
    return checkpoint.load_as(of, place, precision=number_format, image_size=image_size)


def precision_or_dtype(
    precision: PrecisionChoice | torch.dtype, dtype: torch.dtype | None
) -> PrecisionChoice | torch.dtype:
    """The precision, or `dtype`, its former name, with a warning.

    Call it directly in a public function: the warning points at the line that called that function.
    """
    if dtype is None:
        return precision
    # Unlike a DeprecationWarning it is shown wherever the call stands.
    warnings.warn("dtype is now precision", FutureWarning, stacklevel=3)
    return dtype


def place_and_format(
    device: torch.device | str, precision: PrecisionChoice | torch.dtype
) -> tuple[torch.device, NumberFormat]:
    """What these arguments of `blip.load` mean here; raises as it does."""
    place = choose_device(device)
    return place, choose_format(precision, place)


def open_checkpoint(
    source: str | Path,
    *,
    tokenizer: str | Path | None = None,
    heads: tuple[int, int] | None = None,
) -> Checkpoint:
    """Read the checkpoint `source` into memory; arguments and errors are those of `blip.load`."""
    contents, path = open_contents(source, heads=heads)
    return Checkpoint(str(source), contents, open_tokenizer(contents, path, tokenizer), path)


def read_sizes(source: str | Path) -> ModelConfig:
    """Sizes of the checkpoint `source`, as `load` takes it; its weights are not checked."""
    return read_contents(find_weights(source), checked=False).config


def open_contents(
    source: str | Path,
    *,
    image_size: int | None = None,
    heads: tuple[int, int] | None = None,
    momentum: bool = False,
) -> tuple[Contents, Path]:
    """Sizes and tensors of the checkpoint `source`, as `load` takes it; the file of the weights."""
    path = find_weights(source)
    contents = read_contents(path, None if heads is None else Heads(*heads), momentum=momentum)
    return contents.at_image_size(image_size), path


def open_tokenizer(contents: Contents, weights: Path, given: str | Path | None) -> Tokenizer:
    """The tokenizer of a model: the given one, the one beside its weights, or that of BERT-base.

    Raises UsageError if there is none, and BlipError if its size is not the model's.
    """
    found = find_tokenizer(weights.parent) if given is None else given
    words = contents.config.text.vocabulary_size
    if found is None and words == TextConfig().vocabulary_size:
        found = VOCABULARY
    if found is None:
        raise UsageError(
            f"found neither tokenizer.json nor vocab.txt beside {weights}; put one there, "
            "or name one to `blip convert --tokenizer`"
        )
    tokenizer = Tokenizer.load(found)
    size, last = tokenizer.vocabulary_size, tokenizer.last_id
    if size != words or last >= words:
        gaps = f" with ids up to {last}" if last >= size else ""
        raise BlipError(
            f"{found}: the tokenizer has {size} tokens{gaps}, the model {words}; "
            "give the tokenizer that the model was trained with"
        )
    return tokenizer


def save_model(
    model: Model,
    tokenizer: Tokenizer,
    folder: Path,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint into `folder`, which exists; `files.atomic_folder` makes it appear whole.

    `weights` replace the model's own, for a model that is sharded over processes. The checkpoint
    says that it was trained here.
    """
    state = model.state_dict() if weights is None else weights
    tensors = {name: tensor.detach() for name, tensor in state.items()}
    contents = Contents(model.config, tensors, where=str(folder), origin="trained")
    write_ours(contents, folder)
    tokenizer.save(folder)


def fingerprint(source: str | Path) -> str:
    """A short hash of weights, tokenizer and sizes of a checkpoint, named as for `load`."""
    return open_checkpoint(source).fingerprint()
