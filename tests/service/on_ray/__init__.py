"""A package, so that its cluster ends with it and not with the whole run."""
