"""What a bundle is on disk, and captions from it alone. Nothing here imports TensorFlow at once."""
