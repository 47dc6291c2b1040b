"""What one image may cost: the file in memory, and 3 bytes a pixel when it is decoded."""

MAX_IMAGE_BYTES = 64 << 20
MAX_IMAGE_PIXELS = 100_000_000
