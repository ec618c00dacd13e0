"""Pure NumPy maths of boxes, shared by the other packages."""
