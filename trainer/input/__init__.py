"""What the trainer reads, and in which order."""
