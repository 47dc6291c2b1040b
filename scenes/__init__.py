"""The embedded data set: drawn scenes, whose captions can be checked word for word."""
