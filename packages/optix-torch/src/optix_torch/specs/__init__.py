"""What each algorithm declares, as data: hyperparameters, options, spaces. Importing these loads no PyTorch."""
