"""Decoding over a callable: knows neither model nor tokenizer."""
