"""A package, because some wheels install a package `tests` that would hide a plain folder."""
