"""Annotation files of others: which images they list, and the boxes in them. One module a format."""
