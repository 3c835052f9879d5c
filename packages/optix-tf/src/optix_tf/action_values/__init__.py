"""What agents with action values are made of: losses, networks, and the standard parts."""
