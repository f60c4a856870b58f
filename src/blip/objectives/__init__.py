"""The three losses, each whole in its file: inputs, loss and the state that it needs."""
