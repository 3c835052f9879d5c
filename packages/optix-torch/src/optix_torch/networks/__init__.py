"""The networks of the standard agents, and how they read observations."""
