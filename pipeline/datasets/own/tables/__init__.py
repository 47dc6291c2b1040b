"""Tables of images and captions: CSV, TSV, and the metadata of folders of images."""
