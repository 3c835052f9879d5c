"""What a run did to its network, for people: pictures over time, with each change and why."""
