"""What is written of a run while it trains: scalars, events, samples and profiles."""
