"""A comparison of whole servers: the same picture over HTTP to this service and to its peers."""
