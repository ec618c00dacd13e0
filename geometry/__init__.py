"""Pure NumPy maths of boxes, shared by converter, service and training."""
