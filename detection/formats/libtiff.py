"""Stops libtiff from writing its messages about a file to standard error.

Pillow raises an exception for what matters. The messages would bypass the log, in another format,
and a client could write hundreds with one small file.
"""

import ctypes

import PIL._imaging


def silence() -> bool:
    """Remove libtiff's handlers of errors and warnings; False where Pillow hides its libtiff."""
    # A library's handle also finds the symbols of the libraries that it was linked with.
    try:
        library = ctypes.CDLL(PIL._imaging.__file__)
        setters = [library.TIFFSetErrorHandler, library.TIFFSetWarningHandler]
    except (OSError, AttributeError):
        return False
    for setter in setters:
        setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
        setter(None)
    return True
