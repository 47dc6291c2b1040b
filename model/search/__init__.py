"""From a step function to captions: greedy search, sampling, beam search. Knows no model."""
