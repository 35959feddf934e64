"""Verbs that look at what is there: `status`, `compare`, `evaluate`, and what a command would do."""
