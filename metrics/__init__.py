"""How good captions are. Runs without TensorFlow."""
