"""How layers that OpenCV reads differently are written for it, by layer type."""
