"""How a training step fits into the memory of its device."""
