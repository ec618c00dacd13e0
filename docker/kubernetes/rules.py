"""Write the rules of docker/prometheus/rules as a PrometheusRule, for the Prometheus operator.

python docker/kubernetes/rules.py            rewrite common/prometheusrule.yaml
python docker/kubernetes/rules.py --check    change nothing; exit with 1 if it is out of date
"""

import argparse
import sys
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent
RULES = FOLDER.parent / "prometheus" / "rules"
TARGET = FOLDER / "common" / "prometheusrule.yaml"
HEAD = "# Generated from docker/prometheus/rules by docker/kubernetes/rules.py.\n"


class Dumper(yaml.SafeDumper):
    """Writes a text of several lines as a block, as people write it."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


Dumper.add_representer(str, _text)


def manifest() -> str:
    """The PrometheusRule as YAML."""
    groups = [
        group
        for path in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    ]
    content = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "sfd", "labels": {"app.kubernetes.io/part-of": "sfd"}},
        "spec": {"groups": groups},
    }
    return HEAD + yaml.dump(content, Dumper=Dumper, sort_keys=False, width=1000)


def main() -> int:
    """Write the manifest, or check it; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only check")
    check = parser.parse_args().check
    current = TARGET.read_text("utf-8") if TARGET.is_file() else ""
    if current == manifest():
        return 0
    if check:
        print(f"{TARGET} is out of date: run python docker/kubernetes/rules.py", file=sys.stderr)
        return 1
    TARGET.write_text(manifest(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
