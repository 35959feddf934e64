"""Speed, memory and accuracy beside the rival; each program here is one command."""
