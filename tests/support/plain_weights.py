"""Random weights for `plain_blip`, under the names of the original release."""

import torch
from torch import Tensor

from tests.support.plain_blip import FIRST_MERGED_LAYER, HEAD

WORDS, POSITIONS, WIDTH, MLP = 37, 16, 12, 20
VISION_WIDTH, VISION_DEPTH, PATCH, SIDE = 8, 2, 8, 16
PROJECTION, QUEUE = 6, 5


class Drawing:
    """Draws tensors by name, from one seed."""

    def __init__(self, seed: int) -> None:
        self.source = torch.Generator().manual_seed(seed)
        self.drawn: dict[str, Tensor] = {}

    def tensor(self, name: str, *shape: int, around: float = 0.0, spread: float = 0.3) -> None:
        self.drawn[name] = around + spread * torch.randn(*shape, generator=self.source)

    def linear(self, name: str, wide: int, out: int) -> None:
        self.tensor(f"{name}.weight", out, wide)
        self.tensor(f"{name}.bias", out)

    def norm(self, name: str, width: int) -> None:
        self.tensor(f"{name}.weight", width, around=1.0)
        self.tensor(f"{name}.bias", width)

    def vision(self, stack: str = "visual_encoder") -> None:
        width = VISION_WIDTH
        self.tensor(f"{stack}.cls_token", 1, 1, width)
        self.tensor(f"{stack}.pos_embed", 1, (SIDE // PATCH) ** 2 + 1, width)
        self.tensor(f"{stack}.patch_embed.proj.weight", width, 3, PATCH, PATCH)
        self.tensor(f"{stack}.patch_embed.proj.bias", width)
        for layer in range(VISION_DEPTH):
            name = f"{stack}.blocks.{layer}"
            self.norm(f"{name}.norm1", width)
            self.linear(f"{name}.attn.qkv", width, 3 * width)
            self.linear(f"{name}.attn.proj", width, width)
            self.norm(f"{name}.norm2", width)
            self.linear(f"{name}.mlp.fc1", width, 4 * width)
            self.linear(f"{name}.mlp.fc2", 4 * width, width)
        self.norm(f"{stack}.norm", width)

    def text(self, stack: str, depth: int = 2, sees: int = VISION_WIDTH, images: int = 1) -> None:
        self.tensor(f"{stack}.embeddings.word_embeddings.weight", WORDS, WIDTH)
        self.tensor(f"{stack}.embeddings.position_embeddings.weight", POSITIONS, WIDTH)
        self.norm(f"{stack}.embeddings.LayerNorm", WIDTH)
        for layer in range(depth):
            name = f"{stack}.encoder.layer.{layer}"
            self.attention(f"{name}.attention.self", WIDTH)
            self.linear(f"{name}.attention.output.dense", WIDTH, WIDTH)
            self.norm(f"{name}.attention.output.LayerNorm", WIDTH)
            for which in ("",) if images == 1 else ("0", "1"):
                self.attention(f"{name}.crossattention.self{which}", sees)
                self.linear(f"{name}.crossattention.output.dense{which}", WIDTH, WIDTH)
            if images == 2 and layer >= FIRST_MERGED_LAYER:
                self.linear(f"{name}.crossattention.output.merge_layer", 2 * WIDTH, WIDTH)
            self.norm(f"{name}.crossattention.output.LayerNorm", WIDTH)
            self.linear(f"{name}.intermediate.dense", WIDTH, MLP)
            self.linear(f"{name}.output.dense", MLP, WIDTH)
            self.norm(f"{name}.output.LayerNorm", WIDTH)

    def attention(self, name: str, sees: int) -> None:
        self.linear(f"{name}.query", WIDTH, WIDTH)
        self.linear(f"{name}.key", sees, WIDTH)
        self.linear(f"{name}.value", sees, WIDTH)

    def language_head(self) -> None:
        """The output layer is the decoder's word embedding."""
        self.linear(f"{HEAD}.transform.dense", WIDTH, WIDTH)
        self.norm(f"{HEAD}.transform.LayerNorm", WIDTH)
        self.tensor(f"{HEAD}.bias", WORDS)
        words = self.drawn["text_decoder.bert.embeddings.word_embeddings.weight"]
        self.drawn |= {f"{HEAD}.decoder.weight": words, f"{HEAD}.decoder.bias": self.of("bias")}

    def of(self, name: str) -> Tensor:
        return self.drawn[f"{HEAD}.{name}"]

    def matching_heads(self, after: str = "") -> None:
        self.linear(f"vision_proj{after}", VISION_WIDTH, PROJECTION)
        self.linear(f"text_proj{after}", WIDTH, PROJECTION)


def pretrain_weights(seed: int) -> dict[str, Tensor]:
    """A MED after some pre-training: with momentum encoders that lag behind, and full queues."""
    drawing = Drawing(seed)
    drawing.vision()
    drawing.text("text_encoder")
    drawing.text("text_decoder.bert")
    share(drawing.drawn)
    drawing.language_head()
    drawing.matching_heads()
    drawing.linear("itm_head", WIDTH, 2)
    drawing.drawn["temp"] = torch.tensor(0.23)
    drawing.vision("visual_encoder_m")
    drawing.text("text_encoder_m")
    drawing.matching_heads("_m")
    for name in ("image_queue", "text_queue"):
        features = torch.randn(PROJECTION, QUEUE, generator=drawing.source)
        drawing.drawn[name] = features / features.norm(dim=0)
    drawing.drawn["queue_ptr"] = torch.tensor([2])
    return drawing.drawn


def share(drawn: dict[str, Tensor]) -> None:
    """Give the decoder all of the encoder's but self-attention."""
    for name in drawn:
        inner = name.removeprefix("text_decoder.bert")
        own = ".attention." in name
        if inner != name and not own:
            drawn[name] = drawn[f"text_encoder{inner}"]


def question_weights(seed: int) -> dict[str, Tensor]:
    """VQA: encoder and decoder share nothing, and the decoder sees the encoder's states."""
    drawing = Drawing(seed)
    drawing.vision()
    drawing.text("text_encoder")
    drawing.text("text_decoder.bert", sees=WIDTH)
    drawing.language_head()
    return drawing.drawn


def pair_weights(seed: int) -> dict[str, Tensor]:
    """NLVR2: two cross-attentions a layer; the last of eight layers are merged by a layer."""
    drawing = Drawing(seed)
    drawing.vision()
    drawing.text("text_encoder", depth=FIRST_MERGED_LAYER + 2, images=2)
    drawing.linear("cls_head.0", WIDTH, WIDTH)
    drawing.linear("cls_head.2", WIDTH, 2)
    return drawing.drawn
