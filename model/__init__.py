"""Encoder, attention, decoder and search: Keras and TensorFlow, nothing else of this project."""
