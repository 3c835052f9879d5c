"""Acting through numpy, and through compiled functions where numpy does not know the network."""
