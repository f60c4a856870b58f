"""What decides whether a text is kept or dropped: threshold, rules of a text, of the whole job."""
