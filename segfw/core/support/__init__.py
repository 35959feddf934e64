"""Tools without a word of the field: files, locks, conversion to and from YAML, processes and memory."""
