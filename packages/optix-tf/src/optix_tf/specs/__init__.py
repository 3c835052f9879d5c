"""What this distribution offers, as data; nothing in here imports TensorFlow."""
