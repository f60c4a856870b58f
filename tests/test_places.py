"""Brace ranges and home folders that cannot be are one line."""

import pytest

from blip.errors import UsageError
from blip.places import expand_braces, home_path, real_path


def test_ranges_and_lists_are_expanded_in_order():
    assert expand_braces("a/{08..10}.tar") == ["a/08.tar", "a/09.tar", "a/10.tar"]
    assert expand_braces("{a,b}/x") == ["a/x", "b/x"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("x/{0..", "cannot expand the braces of x/{0..: .*; allowed: {00000..00099} and {a,b}"),
        ("{" * 3000, "cannot expand the braces"),
        ("x/{0..99999999999}.tar", "names more than 10000000 files"),
        ("{0..9999}{0..9999}", "names more than 10000000 files"),
        ("{0.." + "9" * 40 + "}", "names more than 10000000 files"),
        ("", "'' names no file or folder"),
        ("a\0b", "names no file or folder"),
    ],
)
def test_what_cannot_be_expanded_is_one_line(pattern, message):
    with pytest.raises(UsageError, match=message) as caught:
        expand_braces(pattern)
    assert "\n" not in str(caught.value)


def test_the_home_of_an_unknown_user_is_one_line():
    with pytest.raises(UsageError, match="cannot find ~nosuchuser: this machine has no such user"):
        home_path("~nosuchuser")


def test_a_file_that_begins_with_a_tilde_is_itself(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~backup").touch()
    assert str(home_path("~backup")) == "~backup"


def test_links_that_lead_in_a_circle_end_nothing(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to(tmp_path)
    assert real_path(tmp_path / "loop").name == "loop"
    assert real_path(tmp_path / "link") == real_path(tmp_path)
