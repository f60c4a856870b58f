"""Pictures come back as they were, from memory and from the file alike."""

import pytest

from blip.data.examples import kept_pictures
from blip.data.examples.kept_pictures import KeptPictures


@pytest.mark.parametrize("memory", [0, 10, 1000])
def test_pictures_beyond_memory_come_back_as_they_were(
    monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(kept_pictures, "MEMORY", memory)
    contents = [bytes([n]) * n for n in (3, 0, 7, 5, 1)]
    kept = KeptPictures()
    for number, content in enumerate(contents, start=1):
        kept.append(content)
        assert kept[number - 1] == content
        assert len(kept) == number
    assert [*kept] == contents
    with pytest.raises(IndexError, match="5 pictures, none at 5"):
        kept[5]
