"""What is kept: hyperparameters, weights, optimizers, statistics and random streams as files and states."""
