"""One gradient step: parameters as a vector, guarded steps, target networks, threads."""
