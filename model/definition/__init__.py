"""What the model is: attention, decoder and teacher forcing, written to be read."""
