"""The image's health check: exits 0 when the service in this container takes traffic.

It uses only the standard library and runs with -I -S, so a check costs a few milliseconds of CPU.
"""

import http.client
import os
import sys


def main() -> int:
    """Ask /readyz of this container's service and return the exit code."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(os.environ.get("SFD_PORT") or 8000), timeout=4
    )
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"/readyz: {error}")
        return 1
    print(f"/readyz: {status}")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
