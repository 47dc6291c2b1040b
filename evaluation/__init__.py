"""The batch evaluation job and its report."""
