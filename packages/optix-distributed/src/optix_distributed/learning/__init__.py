"""What the learner does with trajectories of older policies."""
