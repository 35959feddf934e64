"""Image and label files of every format, read to volumes and written back."""
