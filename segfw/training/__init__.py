"""Training of one fold: the only part of the package that knows Lightning."""
