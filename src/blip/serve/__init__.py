"""An HTTP service of a model's functionalities: requests batched, one thread for the model."""
