"""Decoding over a callable: greedy, beam search, nucleus. Knows neither model nor tokenizer."""
