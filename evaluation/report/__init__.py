"""The evaluation as one HTML page."""
