"""Where this code is, in a checkout or an installed package, and its version."""

import tomllib
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
"""The folder of `sfd` and its sibling packages: a checkout, or site-packages."""


def _project() -> dict[str, str] | None:
    """The `project` table of sfd's pyproject.toml, which only a checkout has."""
    try:
        project = tomllib.loads((HOME / "pyproject.toml").read_text("utf-8"))["project"]
        return project if project["name"] == "sfd" else None
    except (OSError, KeyError, ValueError):
        return None


_PROJECT = _project()

CHECKOUT = HOME if _PROJECT else None
"""The checkout that contains this code; None for an installed package."""


def _installed_version() -> str:
    # Imported only here: it takes 0.03 s, and a checkout does not need it.
    from importlib import metadata

    return metadata.version("sfd")


# In a checkout, the metadata of an editable install may be older than pyproject.toml.
VERSION = _PROJECT["version"] if _PROJECT else _installed_version()
"""The version of sfd in pyproject.toml."""
