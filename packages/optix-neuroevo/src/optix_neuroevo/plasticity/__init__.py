"""Weights that follow activity: local rules beside gradients, and signals that scale them."""
