"""Plain ASGI middleware for every request, one in each module."""
