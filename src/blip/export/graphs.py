"""The parts of a MED as they are exported: what each graph takes, computes and gives.

    pixels   image_encoder    states
    states   image_features   features          a unit vector, for ITC
    states   image_kv         key.0, value.0, key.1, ...     of every layer's cross-attention
    texts    text_encoder     features          a unit vector, for ITC
    texts and image_key.0, ...    matching      logits       of ITM
    texts and image_key.0, ..., past_key.0, ... decoder      logits, key.0, ...     a decoding step

Texts are padded: packing depends on lengths, which no graph knows. Those about images are `(images,
texts of each, length)`, so that the keys and values of an image are read in place by all its texts.
States inside are `(rows, width)`.
"""

from blip.export.builder import Axis, Builder, Int8
from blip.export.names import GraphName, decoder_kv, kv_names
from blip.model.blip import Blip
from blip.nn.attention import SelfAttention
from blip.nn.bert import FeedForward, TextLayer
from blip.nn.linear import Linear
from blip.nn.mode import Mode


def build_graphs(
    model: Blip, *, int8: Int8 | None = None, observes: bool = False
) -> dict[GraphName, Builder]:
    """The graphs of all that this model can do; the other arguments are those of `Builder`."""

    def new() -> Builder:
        return Builder(model, int8=int8, observes=observes)

    graphs: dict[GraphName, Builder] = {"image_encoder": _image_encoder(model, new())}
    matches, writes = ("bidirectional" in model.config.modes, "causal" in model.config.modes)
    if matches:
        graphs["image_features"] = _image_features(model, new())
        graphs["image_kv"] = _image_kv(model, new(), "bidirectional")
        graphs["text_encoder"] = _text_encoder(model, new())
        graphs["matching"] = _matching(model, new())
    if writes:
        graphs[decoder_kv(model.config)] = _image_kv(model, new(), "causal")
        graphs["decoder"] = _decoder(model, new())
    return graphs


def _image_encoder(model: Blip, graph: Builder) -> Builder:
    vision, sizes = model.vision, model.config.vision
    side, width, head_width = sizes.image_size, sizes.width, sizes.width // sizes.heads
    pixels = graph.input("pixels", "float", ("images", 3, side, side))
    convolution = vision.patches
    assert convolution.bias is not None
    patches = graph.add(
        "Conv",
        pixels,
        graph.weight(convolution.weight),
        graph.weight(convolution.bias),
        kernel_shape=[sizes.patch_size] * 2,
        strides=[sizes.patch_size] * 2,
    )
    patches = graph.add("Transpose", graph.reshape(patches, (0, width, -1)), perm=[0, 2, 1])
    one_each = graph.shape(graph.length(pixels, 0), 1, width)
    first = graph.add("Expand", graph.weight(vision.class_token), one_each)
    tokens = graph.add("Concat", first, patches, axis=1)
    tokens = graph.add("Add", tokens, graph.weight(vision.positions))
    hidden = graph.reshape(tokens, (-1, width))
    heads = graph.ints(-1, sizes.tokens, sizes.heads, head_width)
    for layer in vision.vision_layers():
        normed = graph.norm(hidden, layer.attention_norm)
        query, key, value = _split(graph, normed, layer.query_key_value, heads, [0, 2, 1, 3])
        attended = graph.attend(query, key, value, head_width, None, 4)
        attended = _join(graph, attended, [0, 2, 1, 3], width)
        hidden = graph.add("Add", hidden, graph.linear(attended, layer.attention_output))
        inner = graph.linear(graph.norm(hidden, layer.mlp_norm), layer.mlp_input)
        update = graph.linear(graph.add("Gelu", inner), layer.mlp_output)
        hidden = graph.add("Add", hidden, update)
    states = graph.reshape(graph.norm(hidden, vision.norm), (-1, sizes.tokens, width))
    graph.output("states", states, ("images", sizes.tokens, width))
    return graph


def _image_features(model: Blip, graph: Builder) -> Builder:
    sizes = model.config.vision
    states = graph.input("states", "float", ("images", "tokens", sizes.width))
    # The class token of each frame: of a video, `tokens` are those of all frames.
    ends = graph.ints(2**31)
    first = graph.add("Slice", states, graph.ints(0), ends, graph.ints(1), graph.ints(sizes.tokens))
    mean = graph.add("ReduceMean", first, graph.ints(1), keepdims=0)
    features = _unit(graph, graph.linear(mean, model.image_projection))
    graph.output("features", features, ("images", model.config.projection))
    return graph


def _image_kv(model: Blip, graph: Builder, mode: Mode) -> Builder:
    text, width = model.config.text, model.config.vision.width
    states = graph.input("states", "float", ("images", "tokens", width))
    rows = graph.reshape(states, (-1, width))
    head_width = text.width // text.heads
    tokens = graph.length(states, 1)
    heads = graph.shape(-1, tokens, text.heads, head_width)
    for number, layer in enumerate(model.text.text_layers()):
        (attention,) = layer.cross(mode).attentions
        both = _split(graph, rows, attention.key_value, heads, [0, 2, 1, 3], parts=2)
        for name, part in zip(("key", "value"), both, strict=True):
            axes = ("images", text.heads, "tokens", head_width)
            graph.output(f"{name}.{number}", part, axes)
    return graph


def _text_encoder(model: Blip, graph: Builder) -> Builder:
    ids = graph.input("ids", "int", ("texts", "length"))
    visible = graph.input("visible", "bool", ("texts", "length"))
    first = _encode(graph, model, ids, visible, images=None)
    features = _unit(graph, graph.linear(first, model.text_projection))
    graph.output("features", features, ("texts", model.config.projection))
    return graph


def _matching(model: Blip, graph: Builder) -> Builder:
    ids = graph.input("ids", "int", ("images", "texts", "length"))
    visible = graph.input("visible", "bool", ("images", "texts", "length"))
    _declare_kv(graph, model, "image_", ("images",), "tokens")
    flat = graph.shape(-1, graph.length(ids, 2))
    images = graph.length(ids, 0)
    first = _encode(graph, model, graph.reshape(ids, flat), graph.reshape(visible, flat), images)
    shape = graph.shape(images, graph.length(ids, 1), 2)
    logits = graph.reshape(graph.linear(first, model.matching_head), shape)
    graph.output("logits", logits, ("images", "texts", 2))
    return graph


def _decoder(model: Blip, graph: Builder) -> Builder:
    sizes = model.config.text
    ids = graph.input("ids", "int", ("images", "texts", "new"))
    past = _declare_kv(graph, model, "past_", ("images", "texts"), "before")
    _declare_kv(graph, model, "image_", ("images",), "tokens")
    images, texts, new = (graph.length(ids, axis) for axis in range(3))
    before = graph.length(past[0], 3)
    total = graph.add("Add", before, new)
    zero, one = graph.whole(0), graph.whole(1)
    positions = graph.add("Range", graph.scalar(before), graph.scalar(total), one)
    places = graph.add("Range", zero, graph.scalar(total), one)
    queries = graph.add("Unsqueeze", positions, graph.ints(1))
    mask = graph.mask(graph.add("LessOrEqual", places, queries))
    embedding, head_width = model.text.embedding.select("causal"), sizes.width // sizes.heads
    hidden = graph.reshape(graph.embed(ids, positions, embedding), (-1, sizes.width))
    heads = graph.shape(images, texts, new, sizes.heads, head_width)
    order = [0, 1, 3, 2, 4]
    for number, layer in enumerate(model.text.text_layers()):
        attention = layer.self_attention.select("causal")
        query, *own = _split(graph, hidden, attention.query_key_value, heads, order)
        earlier = past[2 * number : 2 * number + 2]
        key, value = (
            graph.add("Concat", old, part, axis=3) for old, part in zip(earlier, own, strict=True)
        )
        for name, part in (("key", key), ("value", value)):
            axes = ("images", "texts", sizes.heads, "before_and_new", head_width)
            graph.output(f"{name}.{number}", part, axes)
        attended = graph.attend(query, key, value, head_width, mask, 5)
        attended = _join(graph, attended, order, sizes.width)
        hidden = _add_and_norm(graph, hidden, attended, attention)
        hidden = _read_image(graph, layer, "causal", number, hidden, images)
        hidden = _feed_forward(graph, hidden, layer.mlp.select("causal"))
    head = model.language_head
    states = graph.norm(graph.add("Gelu", graph.linear(hidden, head.dense)), head.norm)
    rows = graph.product(states, embedding.words.weight, head.bias)
    vocabulary = sizes.vocabulary_size
    logits = graph.reshape(rows, graph.shape(images, texts, new, vocabulary))
    graph.output("logits", logits, ("images", "texts", "new", vocabulary))
    return graph


def _encode(graph: Builder, model: Blip, ids: str, visible: str, images: str | None) -> str:
    """First states `(texts, width)` of `ids` `(texts, length)`; `images` None reads none."""
    sizes = model.config.text
    head_width = sizes.width // sizes.heads
    length = graph.length(ids, 1)
    embedding = model.text.embedding.select("bidirectional")
    positions = graph.add("Range", graph.whole(0), graph.scalar(length), graph.whole(1))
    hidden = graph.reshape(graph.embed(ids, positions, embedding), (-1, sizes.width))
    mask = graph.mask(graph.add("Unsqueeze", visible, graph.ints(1, 2)))
    heads = graph.shape(-1, length, sizes.heads, head_width)
    layers = model.text.text_layers()
    for number, layer in enumerate(layers):
        attention = layer.self_attention.select("bidirectional")
        query, key, value = _split(graph, hidden, attention.query_key_value, heads, [0, 2, 1, 3])
        if number == len(layers) - 1:
            # The last layer computes the first state of each text alone.
            query = graph.add("Gather", query, graph.ints(0), axis=2)
            rows = graph.reshape(hidden, graph.shape(-1, length, sizes.width))
            hidden = graph.add("Gather", rows, graph.whole(0), axis=1)
        attended = graph.attend(query, key, value, head_width, mask, 4)
        attended = _join(graph, attended, [0, 2, 1, 3], sizes.width)
        hidden = _add_and_norm(graph, hidden, attended, attention)
        if images is not None:
            hidden = _read_image(graph, layer, "bidirectional", number, hidden, images)
        hidden = _feed_forward(graph, hidden, layer.mlp.select("bidirectional"))
    return hidden


def _read_image(
    graph: Builder, layer: TextLayer, mode: Mode, number: int, hidden: str, images: str
) -> str:
    """Cross-attention to one image for each group of rows, residual and norm."""
    cross = layer.cross(mode)
    (attention,) = cross.attentions
    sizes = attention.sizes
    head_width = sizes.width // sizes.heads
    query = graph.linear(hidden, attention.query)
    query = graph.reshape(query, graph.shape(images, -1, sizes.heads, head_width))
    query = graph.add("Transpose", query, perm=[0, 2, 1, 3])
    key, value = f"image_key.{number}", f"image_value.{number}"
    attended = graph.attend(query, key, value, head_width, None, 4)
    attended = _join(graph, attended, [0, 2, 1, 3], sizes.width)
    update = graph.linear(attended, attention.output)
    return graph.norm(graph.add("Add", hidden, update), cross.norm)


def _feed_forward(graph: Builder, hidden: str, mlp: FeedForward) -> str:
    update = graph.linear(graph.add("Gelu", graph.linear(hidden, mlp.input)), mlp.output)
    return graph.norm(graph.add("Add", hidden, update), mlp.norm)


def _add_and_norm(graph: Builder, hidden: str, attended: str, attention: SelfAttention) -> str:
    update = graph.linear(attended, attention.output)
    return graph.norm(graph.add("Add", hidden, update), attention.norm)


def _split(
    graph: Builder, rows: str, layer: Linear, heads: str, order: list[int], parts: int = 3
) -> list[str]:
    """The `parts` of a projection, each in the shape `heads` and then in another order of axes."""
    projected = graph.linear(rows, layer)
    split = graph.add_all("Split", projected, outputs=parts, axis=1, num_outputs=parts)
    return [graph.add("Transpose", graph.reshape(one, heads), perm=order) for one in split]


def _join(graph: Builder, attended: str, order: list[int], width: int) -> str:
    """Undo `_split`: back to rows. The order of axes undoes itself."""
    return graph.reshape(graph.add("Transpose", attended, perm=order), (-1, width))


def _unit(graph: Builder, projected: str) -> str:
    """Vectors of length 1."""
    return graph.add("LpNormalization", projected, axis=-1, p=2)


def _declare_kv(
    graph: Builder, model: Blip, prefix: str, rows: tuple[Axis, ...], tokens: str
) -> list[str]:
    """Inputs for keys and values of all layers; their names, layer by layer."""
    text = model.config.text
    axes = (*rows, text.heads, tokens, text.width // text.heads)
    return [graph.input(name, "float", axes) for name in kv_names(prefix, text.depth)]
