"""What the definition computes, quicker. Nothing in `model/definition` imports this."""
