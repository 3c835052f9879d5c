"""When and how much a network grows, shrinks or is rewired; where and how is what mutators say."""
