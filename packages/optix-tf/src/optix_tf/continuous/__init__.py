"""What SAC and TD3 share: losses, squashed policies, twin critics, and the standard parts."""
