"""Runs Checkov on each file by itself: a script for an environment with Checkov.

    python checkov_runs.py FILE...

FILE.json gets the report of FILE. Checkov is imported once, which takes most of its time. Each file
has a process of its own, so that Checkov never relates the manifests of two files.
"""

import importlib
import multiprocessing
import os
import sys

OPTIONS = ("--framework", "kubernetes", "--skip-download", "--quiet", "--output", "json")


def check(file: str) -> None:
    """Check a file. Checkov prints its report, so standard output is redirected to a file."""
    with open(f"{file}.json", "wb") as report:
        os.dup2(report.fileno(), sys.stdout.fileno())
    checkov.Checkov(["--file", file, *OPTIONS]).run()


if __name__ == "__main__":
    checkov = importlib.import_module("checkov.main")
    processes = multiprocessing.get_context("fork")
    failed = False
    for file in sys.argv[1:]:
        process = processes.Process(target=check, args=(file,))
        process.start()
        process.join()
        failed |= process.exitcode != 0
    sys.exit(failed)
