"""Sources of captioned images: annotation files in, descriptions of images and captions out."""
