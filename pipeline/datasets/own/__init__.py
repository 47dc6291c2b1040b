"""Captioned images as people keep them: one file for each layout."""
