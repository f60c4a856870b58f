"""One way to open any place: tars, tables, folders, here or elsewhere, to samples."""
