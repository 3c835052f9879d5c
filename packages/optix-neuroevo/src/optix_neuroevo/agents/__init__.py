"""Agents whose policy is a neuron graph that may change while they learn."""
