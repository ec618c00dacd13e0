"""The endpoints, one group in each module."""
