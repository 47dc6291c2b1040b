"""How good captions are: the official metrics, their intervals, diversity. No TensorFlow."""
