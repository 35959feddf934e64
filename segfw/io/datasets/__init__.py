"""Folders and lists of files, read to datasets; pairing images with label maps; the synthetic dataset."""
