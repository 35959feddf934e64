"""Stage `train`: which runs there are and what determines them, their processes, what follows and ends them."""
