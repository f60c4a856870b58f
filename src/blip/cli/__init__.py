"""One short file per verb, imported lazily."""
