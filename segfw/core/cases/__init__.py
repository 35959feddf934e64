"""What a dataset is: its description, its cases and their faults, and the folds they are divided into."""
