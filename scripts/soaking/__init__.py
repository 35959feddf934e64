"""What `scripts/soak.py` is made of: the commands that are killed, the killing, and the judging of what they leave."""
