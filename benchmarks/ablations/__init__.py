"""Every choice of a recipe on and off, over several seeds: `python -m benchmarks.ablations`."""
