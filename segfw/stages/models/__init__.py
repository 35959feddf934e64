"""Packaged models: made of folds, found, exported and imported."""
