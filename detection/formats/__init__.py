"""What the structure of an image file tells before Pillow reads it, one module for each format."""
