"""How graphs are trained: an optimizer that follows their changes, and what an agent stores of them."""
