"""Captioner and filter, as a job uses them."""
