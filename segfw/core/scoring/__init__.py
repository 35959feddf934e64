"""How good a segmentation is, and which configuration wins."""
