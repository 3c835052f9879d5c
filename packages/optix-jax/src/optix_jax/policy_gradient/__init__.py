"""On-policy learning: losses, the compiled PPO update, actor and critic, and the standard parts."""
