"""Videos to a few frames, by PyAV (the extra `video`)."""
