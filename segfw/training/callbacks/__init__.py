"""What happens beside the training loop: progress, the log of curves, validation of whole cases."""
