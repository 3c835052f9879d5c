"""What SAC and TD3 are made of: losses, squashed policies, their updates, and the standard parts."""
