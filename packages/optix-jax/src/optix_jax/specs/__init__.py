"""What the agents of this distribution declare; importing it loads no JAX."""
