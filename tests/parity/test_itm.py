"""Matching against the original: logits of the pairs, cosines of all images with all texts."""

import torch

from blip.inference.embedder import Embedder
from blip.inference.matcher import Matcher
from blip.model.blip import Blip
from tests.support.vectors import CLOSE, needs_vectors, texts, tiny_model, tokenizer, vectors

pytestmark = needs_vectors


@torch.no_grad()
def test_logits_with_padding_to_35_tokens() -> None:
    golden, words, model = vectors("itm"), tokenizer(), tiny_model("itm", Blip)
    captions = words.encode(texts()["texts"], 35, padding="max")
    image_kv = model.project_image(model.encode_image(golden["images"]), "bidirectional")
    # The original's model for matching alone starts texts with [CLS], unlike its training and its
    # evaluation of retrieval, which start them with [ENC].
    logits = model.match_logits(captions.ids, captions.visible, image_kv)
    torch.testing.assert_close(logits, golden["itm"], **CLOSE)
    started = captions.start_with(words.enc_id)
    assert not torch.allclose(
        model.match_logits(started.ids, started.visible, image_kv), golden["itm"], atol=0.1
    )


@torch.no_grad()
def test_cosines_of_all_images_with_all_texts() -> None:
    golden, words, model = vectors("itm"), tokenizer(), tiny_model("itm", Blip)
    captions = words.encode(texts()["texts"], 35, padding="max")
    features = model.text_features(captions.ids, captions.visible)
    images = model.image_features(model.encode_image(golden["images"]))
    torch.testing.assert_close(images @ features.T, golden["itc"], **CLOSE)


def test_the_matcher_finds_the_same_cosines() -> None:
    golden, captions = vectors("itm"), texts()["texts"]
    # Its cleaning would change what the original was given: these have nothing to be dropped.
    plain = [n for n, text in enumerate(captions) if "." not in text]
    images = list(golden["images"])
    found = Matcher(tiny_model("itm", Blip), tokenizer()).cosine(
        images, [[captions[n] for n in plain]] * len(images)
    )
    torch.testing.assert_close(torch.tensor(found), golden["itc"][:, plain], **CLOSE)


def test_the_embedder_finds_the_same_cosines() -> None:
    golden, captions = vectors("itm"), texts()["texts"]
    plain = [n for n, text in enumerate(captions) if "." not in text]
    embedder = Embedder(tiny_model("itm", Blip), tokenizer())
    found = (
        embedder.embed_images(golden["images"], batch_size=4)
        @ embedder.embed_texts(captions[n] for n in plain).T
    )
    torch.testing.assert_close(torch.tensor(found), golden["itc"][:, plain], **CLOSE)
