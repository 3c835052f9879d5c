"""What the agents that learn action values share: replay, losses, and the standard parts."""
