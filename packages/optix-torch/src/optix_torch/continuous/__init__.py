"""What SAC and TD3 share: twin critics, squashed policies, and the standard parts."""
