"""Online: image bytes in, face boxes out, over HTTP or from the command line."""
