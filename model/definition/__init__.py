"""What the model is. Read this first."""
