"""Many jobs of one command: what is swept or searched, who starts them, and what is said of them in the end."""
