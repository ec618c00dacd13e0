"""Answer /api/health if all that Grafana needs is mounted and reachable."""

import json
import os
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

PROVISIONING = Path("/etc/grafana/provisioning")


def wiring() -> dict[str, object]:
    """Follow the provisioning files as Grafana would, or raise."""
    datasource = (PROVISIONING / "datasources" / "prometheus.yml").read_text("utf-8")
    provider = (PROVISIONING / "dashboards" / "sfd.yml").read_text("utf-8")
    [url] = re.findall(r"^ +url: (\S+)$", datasource, re.M)
    [folder] = re.findall(r"^ +path: (\S+)$", provider, re.M)
    home = Path(os.environ["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    dashboards = [
        json.loads(path.read_text("utf-8"))["uid"] for path in Path(folder).glob("*.json")
    ]
    (Path("/var/lib/grafana") / "written").write_text("the volume takes writes")
    with urlopen(f"{url}/-/ready", timeout=3) as answer:
        prometheus = answer.status
    return {"dashboards": dashboards, "home": home.is_file(), "prometheus": prometheus}


class Health(BaseHTTPRequestHandler):
    """GET /api/health."""

    def do_GET(self) -> None:
        """Answer 200 with the wiring, or 503 with what is wrong with it."""
        try:
            status, body = 200, json.dumps(wiring())
        except Exception as error:
            status, body = 503, json.dumps({"error": repr(error)})
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())


ThreadingHTTPServer(("", 3000), Health).serve_forever()
