"""How images become captions: one path, batched, on every device."""
