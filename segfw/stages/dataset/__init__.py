"""The raw dataset as stages meet it: found, described, verified, repaired, divided into folds."""
