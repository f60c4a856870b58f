"""Fields of KEY.json have one type, or are not there."""

from blip.data.writers.meta import encodable


def test_fields_of_unknown_type_are_left_out_and_others_stay() -> None:
    meta = {"a": None, "b": {"c": None}, "d": [None], "e": [], "f": float("nan"), "g": "\ud800"}
    assert encodable(meta | {"h": {"i": [1, None], "j": False}, "k": ""}) == {
        "g": "?",
        "h": {"i": [1, None], "j": False},
        "k": "",
    }


def test_what_is_nested_too_deeply_is_not_written() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert encodable({"deep": deep, "a": 1}) == {}
