"""The recipes of flags/ side by side: `python -m benchmarks.recipes`."""
