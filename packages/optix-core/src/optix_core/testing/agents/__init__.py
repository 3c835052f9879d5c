"""The conformance checks of agents, one module per question."""
