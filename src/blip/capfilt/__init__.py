"""CapFilt: write a synthetic text for every web image, then drop the texts that do not match."""
