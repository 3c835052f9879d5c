"""How PyTorch networks are evaluated while acting."""
