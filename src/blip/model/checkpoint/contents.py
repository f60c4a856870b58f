"""The contents of a checkpoint in any layout, under our names."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from blip.config.strict import from_json, parse_json
from blip.errors import BlipError, UsageError
from blip.model.blip import FIRST_TEMPERATURE
from blip.model.checkpoint.assemble import (
    Faults,
    assemble,
    expected_shapes,
    not_real,
    shapes_of,
)
from blip.model.checkpoint.format import (
    Origin,
    check_format,
    origin_from_json,
    sizes_from_json,
)
from blip.model.checkpoint.huggingface import is_huggingface, original_name, read_sizes
from blip.model.checkpoint.momentum import momentum_from_original
from blip.model.checkpoint.original import (
    Kind,
    from_original,
    is_momentum,
    kind_of,
    names_of,
    to_original,
)
from blip.model.checkpoint.sizes import Heads, config_from_shapes, kind_of_config
from blip.model.checkpoint.tensors import INDEX, PARTS, read_tensors
from blip.model.config import ModelConfig
from blip.model.make import Model, make_model
from blip.nn.mode import Mode
from blip.nn.vit import resize_positions
from blip.outputs import MOMENTUM, SIZES

OUR_KEY = "blip_config"
"""Our entry beside "model" in a file of the original layout: sizes that no shape shows."""
_OURS = "vision."
"""Names of tensors start with it in our layout alone."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Sizes and tensors of a model, and of its momentum encoders where the file has them."""

    config: ModelConfig
    tensors: Mapping[str, Tensor]
    momentum: Mapping[str, Tensor] = field(default_factory=dict)
    """Momentum encoders under our names, queues under their own; empty where there are none."""
    where: str = "checkpoint"
    """The file, for messages."""
    origin: Origin = "released"
    """Whether `blip` trained the weights; a file of a published layout does not say so."""

    @property
    def kind(self) -> Kind:
        """The kind of released checkpoint that it corresponds to."""
        temperature = self.tensors.get("temperature")
        # A file without a temperature is read with the initial one, which need not be written.
        first = torch.full((1,), FIRST_TEMPERATURE)
        trained = temperature is not None and not torch.equal(temperature, first)
        return kind_of_config(self.config, has_temperature=bool(self.momentum) or trained)

    @property
    def described(self) -> str:
        """Its kind, or the architecture of a model that corresponds to no released checkpoint."""
        try:
            return self.kind
        except UsageError:
            return self.config.architecture

    def model(self) -> Model:
        """The model, in evaluation mode; raises BlipError with the list of what does not fit."""
        return assemble(self.config, self.tensors, self.where)

    def for_task(self, task: Literal["caption", "itm"]) -> "Contents":
        """The half of a MED that writes captions, or that matches; without momentum encoders.

        Raises UsageError if the model has no such half.
        """
        mode: Mode = "causal" if task == "caption" else "bidirectional"
        if self.config.architecture != "med" or mode not in self.config.modes:
            raise UsageError(f"{self.where} holds a model for {self.described}, not one for {task}")
        config = replace(self.config, modes=(mode,))
        expected = expected_shapes(config)
        tensors = {name: tensor for name, tensor in self.tensors.items() if name in expected}
        return Contents(config, tensors, where=self.where, origin=self.origin)

    def at_image_size(self, image_size: int | None) -> "Contents":
        """The same model for pictures of another size in pixels (None: unchanged).

        Position embeddings are resized. Raises UsageError if patches do not divide that size.
        """
        if image_size in (None, self.config.vision.image_size):
            return self
        try:
            vision = replace(self.config.vision, image_size=image_size)
        except ValueError as error:
            raise UsageError(str(error)) from error
        return replace(
            self,
            config=replace(self.config, vision=vision),
            tensors=_resized(self.tensors, vision.tokens),
            momentum=_resized(self.momentum, vision.tokens),
        )


def _resized(tensors: Mapping[str, Tensor], tokens: int) -> dict[str, Tensor]:
    name = "vision.positions"
    resized = {name: resize_positions(tensors[name], tokens)} if name in tensors else {}
    return {**tensors, **resized}


def read_contents(
    weights: Path, heads: Heads | None = None, *, momentum: bool = False, checked: bool = True
) -> Contents:
    """Read the weights of a file or an index: ours, Hugging Face's or the original release's.

    Layout, kind and sizes follow from `config.json` beside the weights, and from names and shapes;
    `heads` are needed only where heads are not 64 wide and no file has their number. With
    `momentum` the momentum encoders, which a model does not need, are read, too. Tensors that are
    not `checked` are good for their sizes alone.

    Raises BlipError for a truncated file, for a format of a later version, for NaN or infinite
    weights and for tensors that do not fit, all of them in one list, and UsageError if sizes or
    layout cannot be determined.
    """
    sizes = _sizes_beside(weights)
    stored = read_tensors(weights, checked=checked, momentum=momentum)
    if any(name.startswith(_OURS) for name in stored.tensors):
        Faults(unreal=not_real(stored.tensors.items())).raise_any(str(weights))
        momentum_file = weights.with_name(MOMENTUM)
        has_momentum = momentum and momentum_file.is_file()
        config, origin = _our_sizes(weights)
        contents = Contents(
            config=config,
            tensors=stored.tensors,
            momentum=read_tensors(momentum_file).tensors if has_momentum else {},
            where=str(weights),
            origin=origin,
        )
    else:
        blip_config = stored.entries.get(OUR_KEY)
        contents = published_contents(
            stored.tensors, str(weights), sizes=sizes, blip_config=blip_config, heads=heads
        )
    return _with_heads(contents, heads)


def _with_heads(contents: Contents, heads: Heads | None) -> Contents:
    """The same contents; raises UsageError if `heads` are not those of the file."""
    actual = Heads(contents.config.vision.heads, contents.config.text.heads)
    if heads not in (None, actual):
        raise UsageError(
            f"heads of {contents.where} are {actual.vision} and {actual.text}, "
            f"got {heads.vision} and {heads.text}"
        )
    return contents


def published_contents(
    state: Mapping[str, Tensor],
    where: str,
    *,
    sizes: Mapping[str, object] | None = None,
    blip_config: object = None,
    heads: Heads | None = None,
) -> Contents:
    """Contents of tensors in one of the two published layouts, in float32.

    `sizes` is the content of Hugging Face's config.json, `blip_config` the value of `OUR_KEY`; both
    may be absent. Raises what `read_contents` raises.
    """
    state = {name: _full_precision(tensor) for name, tensor in state.items()}
    found = {original_name(name): tensor for name, tensor in state.items()}
    momentum = {name: tensor for name, tensor in found.items() if is_momentum(name)}
    found = {name: tensor for name, tensor in found.items() if name not in momentum}
    try:
        kind = kind_of(found)
        if is_huggingface(state):
            config = read_sizes(sizes, shapes_of(found), heads)
        elif blip_config is not None:
            config = from_json(ModelConfig, blip_config, where=OUR_KEY)
        else:
            config = config_from_shapes(kind, shapes_of(found), heads)
    except UsageError as error:
        raise UsageError(f"{where}: {error}{_hint(found)}") from error
    _check(kind, config, found, where)
    tensors = from_original(names_of(kind, config).tensors, found)
    if kind == "itm":
        # Released without it: matching does not need it.
        tensors["temperature"] = torch.full((1,), FIRST_TEMPERATURE)
    return Contents(config, tensors, momentum_from_original(config, momentum, where), where)


def _check(kind: Kind, config: ModelConfig, found: Mapping[str, Tensor], where: str) -> None:
    """Raise BlipError with the list of all tensors that do not fit."""
    names = names_of(kind, config)
    with torch.device("meta"):
        expected = to_original(names, make_model(config).state_dict())
    repeated = names.repeats.keys() | set(names.position_ids)
    faults = Faults(unreal=not_real(n for n in found.items() if n[0] not in names.position_ids))
    faults.compare(
        shapes_of({name: tensor for name, tensor in expected.items() if name not in repeated}),
        shapes_of({name: tensor for name, tensor in found.items() if name not in repeated}),
    )
    faults.untied += [
        name
        for name, same in names.repeats.items()
        if name in found and same in found and not torch.equal(found[name], found[same])
    ]
    faults.untied += [
        name
        for name in names.position_ids
        if name in found
        and not torch.equal(found[name].flatten(), torch.arange(found[name].numel()))
    ]
    faults.raise_any(where)


def _hint(found: Mapping[str, Tensor]) -> str:
    """Advice where a model's weights are stored among others, such as those of a loss."""
    for first in sorted({name.partition(".")[0] for name in found}):
        start = f"{first}."
        inner = {n.removeprefix(start): t for n, t in found.items() if n.startswith(start)}
        with suppress(UsageError):
            kind_of({original_name(name): tensor for name, tensor in inner.items()})
            return f"; the names that begin with {first} are BLIP's: save these alone"
    return ""


def _our_sizes(weights: Path) -> tuple[ModelConfig, Origin]:
    path = weights.with_name(SIZES)
    if not path.is_file():
        raise UsageError(f"{weights} needs its {SIZES}, which holds its sizes, in {path.parent}")
    content = _read_json(path)
    return sizes_from_json(content, path), origin_from_json(content, path)


def _sizes_beside(weights: Path) -> Mapping[str, object] | None:
    """The config.json beside weights in one of the file formats of Hugging Face's layout."""
    path = weights.with_name(SIZES)
    if not weights.name.endswith((*PARTS, INDEX)) or not path.is_file():
        return None
    sizes = _read_json(path)
    # Before the weights are read: a later format may name them as no layout does today.
    check_format(sizes, path)
    return sizes


def _read_json(path: Path) -> Mapping[str, object]:
    try:
        sizes = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BlipError(f"{path} is not JSON: {error}") from error
    if not isinstance(sizes, Mapping):
        raise BlipError(f"{path} must hold an object, got {type(sizes).__name__}")
    return sizes


def _full_precision(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
