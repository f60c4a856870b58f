"""The main job on real photos, from a small ViT and BERT, and its filter on real alt texts."""
