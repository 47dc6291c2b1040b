"""Records held against their manifest and their source."""
