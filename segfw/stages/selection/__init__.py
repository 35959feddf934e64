"""Stage `select`: what competes, how well each does, and which wins."""
