"""Hyperparameters and options of each algorithm, the same in every framework: defaults, intervals, tuning ranges."""
