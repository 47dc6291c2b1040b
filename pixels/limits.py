"""What one image may cost: the file in memory, and 3 bytes or more a pixel when it is decoded.

Each decoder checks the size in the header before it decodes a pixel.
"""

MAX_IMAGE_BYTES = 64 << 20
# A JPEG is decoded at a reduced scale where it is large. The cameras of phones reach 200 million.
MAX_JPEG_PIXELS = 200_000_000
# Each pass of a progressive JPEG visits all pixels. Encoders write about ten.
MAX_JPEG_PASSES = 100
# All other formats, and JPEGs whose pixels come in several passes, are in memory in full. The
# largest HEIC of a phone has 49 million.
MAX_OTHER_PIXELS = 50_000_000
