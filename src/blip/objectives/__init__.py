"""The three losses and the state that they need: tensors in, named losses out."""
