"""The same as the definition, quicker."""
