"""The standard agents, the same in every framework that builds them here: sizes, memories, normalisers, optimizers."""
