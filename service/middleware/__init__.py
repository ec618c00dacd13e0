"""What concerns every request: plain ASGI middleware, one a module."""
