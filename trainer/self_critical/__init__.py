"""Self-critical training: sampled captions are rewarded by how well they agree with people's."""
