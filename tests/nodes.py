"""Runs the nodes of a Ray cluster on this machine, as lines of standard input say.

    python tests/nodes.py           the head node, without CPUs
    python tests/nodes.py --dashboard       with the dashboard, which deploys applications
    add CPUS                        a further node
    kill NODE                       every process of a node, with SIGKILL

Answers each with a line of JSON. It ends with standard input.
"""

import json
import sys
from typing import Any

from ray.cluster_utils import Cluster

MEMORY = 100 * 2**20


def main() -> None:
    """Start the head, then obey."""
    options: dict[str, Any] = {"object_store_memory": MEMORY}
    head = {
        "num_cpus": 0,
        "include_dashboard": "--dashboard" in sys.argv,
        "dashboard_port": 0,
        # Jobs must not show what workers print. Applications are not started from here.
        "include_log_monitor": "--dashboard" not in sys.argv,
        # Tests let no autoscaler add nodes.
        "no_monitor": True,
    }
    cluster = Cluster(initialize_head=True, head_node_args=options | head)
    nodes = {}
    dashboard = f"http://{cluster.head_node.webui_url}"
    answer(address=cluster.address, dashboard=dashboard, node=cluster.head_node.node_id)
    for line in sys.stdin:
        match line.split():
            case ["add", cpus]:
                node = cluster.add_node(num_cpus=int(cpus), **options)
                nodes[node.node_id] = node
                (raylet,) = node.all_processes["raylet"]
                answer(node=node.node_id, raylet=raylet.process.pid)
            case ["kill", name]:
                cluster.remove_node(nodes.pop(name), allow_graceful=False)
                answer(node=name)
    cluster.shutdown()


def answer(**values: object) -> None:
    """Print an answer."""
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
