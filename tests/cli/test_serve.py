"""Under which names the service may be reached."""

import pytest

from blip.cli.serve import LOOPBACK, ServeOptions, allowed_hosts


@pytest.mark.parametrize("host", [*LOOPBACK, "127.0.0.2"])
def test_on_this_machine_alone_it_answers_to_no_other_name(host: str) -> None:
    options = ServeOptions(checkpoint=("model",), host=host)
    assert set(allowed_hosts(options)) == {*LOOPBACK, host}


def test_beyond_this_machine_it_answers_to_all_names_or_to_those_given() -> None:
    options = ServeOptions(checkpoint=("model",), host="0.0.0.0")
    assert allowed_hosts(options) == ("*",)
    named = ServeOptions(checkpoint=("model",), host="0.0.0.0", hosts=("a.example.org",))
    assert set(allowed_hosts(named)) == {*LOOPBACK, "0.0.0.0", "a.example.org"}
