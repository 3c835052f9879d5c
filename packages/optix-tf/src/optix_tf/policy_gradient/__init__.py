"""Policy gradients: losses, and whole updates as one compiled function."""
