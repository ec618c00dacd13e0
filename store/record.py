"""What `build.json` says about a model's ONNX files: what they were built from, and by what."""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from sfd.distribution import VERSION
from store.fields import Sha256
from store.int8 import Int8


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Build:
    """The contents of `build.json`: what `model.onnx` was built from, and by which version.

    A later version may write further members.
    """

    sha256: Sha256
    """Hash of `model.onnx`."""
    sources: Mapping[str, Sha256]
    """Hashes of the deploy prototxt and the weights, by role as in `Description.sources`."""
    recipe: Sha256
    """Hash of the other parts of `model.toml` that the conversion uses (`recipe_hash`)."""
    converter: str
    verification: str
    """`verified`, or `unverified: ` and the reason."""
    int8: Int8 | None = None
    """How `model.int8.onnx` was made; None if there is none."""
    second_look: Sha256 | None = None
    """Hash of `model.second_look.onnx`; None for a model without a second look."""
    cpu: Sha256 | None = None
    """Hash of `model.cpu.onnx`; None if there is none."""
    wide: bool | None = None
    """Whether the network has wide values, for which `model.cpu.onnx` is made; None if the
    build is older than that file."""

    @property
    def is_latest(self) -> bool:
        """Whether this version of sfd would make the same files from the same sources."""
        # The converter had this version before it made `model.cpu.onnx`, too.
        return self.converter == VERSION and (self.wide is not None or self.cpu is not None)

    def json(self) -> dict[str, Any]:
        """The members of `build.json`, without those of files that the model does not have."""
        found: dict[str, Any] = TypeAdapter(Build).dump_python(self, mode="json")
        return {key: value for key, value in found.items() if value is not None}
