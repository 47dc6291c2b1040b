"""The project on a GPU: `python -m benchmarks.gpu`."""
