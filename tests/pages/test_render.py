"""Pages from templates: whole files in which every value is escaped."""

import base64
import io
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from PIL import Image

from blip.pages.pictures import THUMBNAIL, thumbnail
from blip.pages.render import render_page

HOSTILE = "<script>alert(1)</script>\"'& {{ 7 * 7 }}"


def write(folder: Path, body: str) -> Path:
    path = folder / "page.html"
    path.write_text(f'{{% extends "frame.html" %}}{{% block body %}}{body}{{% endblock %}}')
    return path


def test_values_cannot_put_markup_into_a_page(tmp_path):
    template = write(tmp_path, '<p title="{{ text }}">{{ text }}</p>')
    page = render_page(template, text=HOSTILE)
    escaped = "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp; {{ 7 * 7 }}"
    assert f'<p title="{escaped}">{escaped}</p>' in page
    assert page.startswith("<!doctype html>")
    assert page == render_page(template, text=HOSTILE)


def test_a_value_that_was_not_given_is_an_error(tmp_path):
    with pytest.raises(UndefinedError):
        render_page(write(tmp_path, "{{ forgotten }}"))


def test_a_thumbnail_is_a_small_jpeg_and_leaves_the_picture_alone():
    picture = Image.new("RGB", (400, 200), "red")
    address = thumbnail(picture)
    head, _, content = address.partition(",")
    assert head == "data:image/jpeg;base64"
    small = Image.open(io.BytesIO(base64.b64decode(content)))
    assert (small.format, small.size) == ("JPEG", (THUMBNAIL, THUMBNAIL // 2))
    assert picture.size == (400, 200)
