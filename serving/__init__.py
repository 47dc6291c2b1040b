"""A trained run put to use on images."""
