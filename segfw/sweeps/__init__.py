"""Hyper-parameter sweeps: which settings are tried, by Optuna, and what is kept of them."""
