"""What the agents of the PPO family share: actor and critic, their update, and the standard parts."""
