"""Memory that the learner and its actors share: weights with versions, and slots for trajectories."""
