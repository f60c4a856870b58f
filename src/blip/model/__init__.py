"""The MED: one model, three functionalities."""
