"""How do people caption images over HTTP? No TensorFlow: a runtime of the bundle computes."""
