"""Keras models: how they are made, what they compute, and what is said of them for export."""
