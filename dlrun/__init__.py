"""dlrun: a command-line laboratory for training deep networks."""
