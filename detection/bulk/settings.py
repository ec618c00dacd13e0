"""The settings of `sfd detect`, from the same environment variables as the service's."""

from detection.settings import Bytes, DetectionSettings


class BulkSettings(DetectionSettings):
    """The settings of detection, and the largest file."""

    max_bytes: Bytes = 20 * 2**20
    """Largest picture file, in bytes. The service has a setting of this name too."""
