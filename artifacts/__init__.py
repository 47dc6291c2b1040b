"""What lies on disk between the trainer and those who use what it trained."""
