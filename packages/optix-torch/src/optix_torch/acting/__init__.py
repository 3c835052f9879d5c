"""From networks' outputs to actions of an environment, in numpy where that is possible."""
