"""The three losses, one file each: the inputs, the loss and its state."""
