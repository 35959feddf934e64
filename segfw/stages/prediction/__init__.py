"""Verb `predict`: which images, on which devices, through which files."""
