"""Published archives: fetch, check and unpack them."""
