"""Topology mutators of our own: they grow, split, prune, merge and rewire through the protocol that anybody's do."""
