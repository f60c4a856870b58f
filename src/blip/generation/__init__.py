"""Search over a callable: knows neither model nor tokenizer."""
