"""The optional dependencies of sfd: the extras of each command and package."""

OF_COMMAND = {
    "models": ("models",),
    "models quantize": ("detect",),
    "serve": ("service",),
    "detect": ("detect",),
    "train": ("train",),
    "prune": ("detect",),
    "evaluate": ("detect",),
    "bench": ("models", "verify"),
    "bench servers": ("bench",),
}
"""The extras that each command needs. A command that is not listed needs none."""

OF_PACKAGE = {
    "aiohttp": "bench",
    "cv2": "verify",
    "fsspec": "bulk",
    "matplotlib": "bench",
    "opentelemetry": "otel",
    "psutil": "bench",
    "pyarrow": "bulk",
    "ray": "ray",
    "scipy": "evaluate",
    "torch": "train",
}
"""The extra that contains a package, by import name, for packages that no command needs."""


def install(*extras: str) -> str:
    """The shell command that installs sfd with these extras.

    It also adds them to an sfd that is already installed, from a wheel or a checkout.
    """
    return f"pip install 'sfd[{','.join(extras)}]'" if extras else "pip install sfd"


def lacking(command: str, error: ModuleNotFoundError) -> str:
    """The error message for a missing package: its name, and how to install it."""
    name = error.name or ""
    extras = list(OF_COMMAND.get(command, ()))
    extra = OF_PACKAGE.get(name.partition(".")[0])
    if extra is not None and extra not in extras:
        extras.append(extra)
    return f"needs the Python package {name!r}, which is not installed: run {install(*extras)}"
