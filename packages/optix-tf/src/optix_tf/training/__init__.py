"""One gradient step: parameters as a vector, optimizers as functions, what is stored."""
