"""Several graphs as one: regions, pathways between them, and an agent that trains all of it."""
