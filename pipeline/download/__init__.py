"""Published archives, fetched, checked and unpacked."""
