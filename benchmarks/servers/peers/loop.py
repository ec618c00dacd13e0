"""The ceiling: decoding, inference and NMS in a loop, in one process for each core, without HTTP.

    python -m benchmarks.servers.peers.loop SECONDS PHOTO...

Prints JSON: the images per second of all processes together, and CPU milliseconds per image.
"""

import itertools
import json
import multiprocessing
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.servers.peers import setup as setups
from benchmarks.servers.peers.work import Detector


def work(
    setup: setups.Setup,
    files: list[bytes],
    seconds: float,
    start: Barrier,
    results: "multiprocessing.SimpleQueue[tuple[float, float]]",
) -> None:
    """Detect faces for so many seconds; puts this process's images and CPU seconds per second."""
    detector = Detector(setup)
    detector.detect(files[0])
    # If another process has failed, this one must not wait for it for ever.
    start.wait(timeout=30)
    begin, used = time.perf_counter(), time.process_time()
    for count, data in enumerate(itertools.cycle(files), 1):
        json.dumps(detector.detect(data))
        passed = time.perf_counter() - begin
        if passed >= seconds:
            results.put((count / passed, (time.process_time() - used) / passed))
            return


def main() -> None:
    """Run all processes and print what they did together."""
    seconds, files = float(sys.argv[1]), [Path(name).read_bytes() for name in sys.argv[2:]]
    setup = setups.read()
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(setup.workers), context.SimpleQueue()
    arguments = setup, files, seconds, start, results
    processes = [context.Process(target=work, args=arguments) for _ in range(setup.workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        sys.exit("a process of the loop failed")
    rates, loads = zip(*(results.get() for _ in processes), strict=True)
    print(json.dumps({"images_per_s": sum(rates), "cpu_ms": 1000 * sum(loads) / sum(rates)}))


if __name__ == "__main__":
    main()
