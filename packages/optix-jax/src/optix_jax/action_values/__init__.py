"""Deep Q-learning: losses, its update, and the standard parts."""
