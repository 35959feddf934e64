"""Arithmetic on images and label maps: cropping, normalization, resampling, and their order."""
