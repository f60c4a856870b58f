"""The few sizes to which batches are filled up, so that few shapes occur."""


def next_size(items: int) -> int:
    """The least power of two, or three quarters of one, that holds so many."""
    power = 1 << (items - 1).bit_length()
    return power * 3 // 4 if power >= 4 and items <= power * 3 // 4 else power
