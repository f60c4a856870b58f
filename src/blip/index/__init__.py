"""An index of pictures: built from any data, searched by text or by picture."""
