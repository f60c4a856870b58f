"""Tables and pages from what runs recorded."""
