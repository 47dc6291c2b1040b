"""From a step function to captions."""
