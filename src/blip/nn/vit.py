"""The vision transformer (Dosovitskiy 2021): pre-norm, learned positions, a class token."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention
from torch.nn.functional import linear as plain_linear

from blip.nn.attention import join_heads, split_heads
from blip.nn.init import init_std, init_weights
from blip.nn.linear import Linear


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): skips residual branches of samples at random."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(
        self, update: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Drop whole samples of `update` and scale up the others; the identity in evaluation."""
        if not self.training or self.rate == 0.0:
            return update
        kept = torch.rand(update.shape[0], 1, 1, device=update.device) >= self.rate
        return update * kept / (1.0 - self.rate)


class VisionLayer(nn.Module):
    """Self-attention and feed-forward network, each after a norm."""

    def __init__(
        self, width: int, heads: int, mlp_width: int, drop_path: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, eps=norm_eps)
        self.query_key_value = Linear(width, 3 * width)
        self.attention_output = Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=norm_eps)
        self.mlp_input = Linear(width, mlp_width)
        self.mlp_output = Linear(mlp_width, width)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, hidden: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """One layer."""
        projected = self.query_key_value(self.attention_norm(hidden))
        query, key, value = (split_heads(part, self.heads) for part in projected.chunk(3, dim=-1))
        return self._finish(hidden, scaled_dot_product_attention(query, key, value))

    def first_states(
        self, hidden: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch 1 width"]:
        """`forward` for the first token only: one query per image, all keys."""
        width = hidden.shape[2]
        normed = self.attention_norm(hidden)
        query = self.query_key_value.part(normed[:, :1], slice(None, width))
        both = self.query_key_value.part(normed, slice(width, None)).chunk(2, dim=-1)
        query, key, value = (split_heads(part, self.heads) for part in (query, *both))
        return self._finish(hidden[:, :1], scaled_dot_product_attention(query, key, value))

    def _finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        hidden = hidden + self.drop_path(self.attention_output(join_heads(attended)))
        update = self.mlp_output(self.mlp_input.then_gelu(self.mlp_norm(hidden)))
        return hidden + self.drop_path(update)


class VisionTransformer(nn.Module):
    """Images in, one state per patch out, after that of the class token.

    `image_size` must be a multiple of `patch_size`; `drop_path` is the last layer's rate.
    """

    def __init__(  # noqa: PLR0913 (the published sizes, each its own number)
        self,
        *,
        image_size: int,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        drop_path: float,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        tokens = (image_size // patch_size) ** 2 + 1
        self.positions = nn.Parameter(torch.zeros(1, tokens, width))
        rates = [drop_path * layer / max(depth - 1, 1) for layer in range(depth)]
        self.layers = nn.ModuleList(
            VisionLayer(width, heads, mlp_width, rate, norm_eps) for rate in rates
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        std = init_std(width)
        init_weights(self, std)
        nn.init.trunc_normal_(self.class_token, std=std)
        nn.init.trunc_normal_(self.positions, std=std)

    def forward(
        self, images: Float[Tensor, "batch 3 height width_pixels"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Normalised pixels to states; raises ValueError for images of another shape."""
        hidden = self._embed(images)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.norm(hidden)

    def first_states(
        self, images: Float[Tensor, "batch 3 height width_pixels"]
    ) -> Float[Tensor, "batch width"]:
        """`forward` for the class token only: the last layer skips the patches."""
        hidden = self._embed(images)
        *layers, last = self.vision_layers()
        for layer in layers:
            hidden = layer(hidden)
        return self.norm(last.first_states(hidden)[:, 0])

    def vision_layers(self) -> list[VisionLayer]:
        """The layers, from the first on."""
        return cast(list[VisionLayer], list(self.layers))

    def _embed(self, images: Tensor) -> Float[Tensor, "batch tokens width"]:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (batch, 3, height, width), got {tuple(images.shape)}")
        size, (height, width) = self.patches.kernel_size[0], images.shape[2:]
        side = round((self.positions.shape[1] - 1) ** 0.5)
        if (height, width) != (side * size, side * size):
            raise ValueError(
                f"this model reads images of {side * size} x {side * size} pixels, "
                f"got {height} x {width}"
            )
        # Equal to the convolution, which is many times slower on a GPU for such patches.
        cut = images.unflatten(3, (side, size)).unflatten(2, (side, size))
        pixels = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        patches = plain_linear(pixels, self.patches.weight.flatten(1), self.patches.bias)
        first = self.class_token.expand(len(patches), -1, -1)
        return torch.cat([first, patches], dim=1) + self.positions


def resize_positions(
    positions: Float[Tensor, "1 tokens width"], tokens: int
) -> Float[Tensor, "1 new_tokens width"]:
    """Position embeddings for a square image of `tokens` - 1 patches; the class token's is kept.

    The grid of patches is resized bicubically (align_corners False), as the original release does.
    """
    if positions.shape[1] == tokens:
        return positions
    old, new = round((positions.shape[1] - 1) ** 0.5), round((tokens - 1) ** 0.5)
    first, grid = positions[:, :1], positions[:, 1:]
    grid = grid.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return torch.cat([first, grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
