"""From flags to a run on disk: a new one, one that is resumed, one with the weights of another."""
