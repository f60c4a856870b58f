"""Where recipes of the paper's data look for it; docs/pretraining.md tells how it comes there."""

COCO = ("shards/coco-train", "shards/coco-restval")
"""COCO's training images in Karpathy's split, of which restval is a part."""
COCO_CAPTIONS = 566_747
"""Texts there."""
COCO_WEIGHT = 5.0
"""For shards that are streamed, where each image comes with one of its texts at a time."""
COCO_VALIDATION = ("shards/coco-val",)
