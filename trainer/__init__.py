"""Training and batch evaluation over records."""
