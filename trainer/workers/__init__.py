"""Which processes train together, and how they find each other."""
