"""Optimizers, guarded gradient steps, and what is trained and stored together."""
