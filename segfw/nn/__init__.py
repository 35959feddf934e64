"""Networks, losses and learning-rate schedules: PyTorch, no data and no training loop."""
