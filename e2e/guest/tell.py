"""A plugin of pytest's: each failure is told at once, not when all tests are over, which takes an hour here."""

import sys

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print why a test failed."""
    if report.failed:
        print(f"\n{report.nodeid}, {report.when}:\n{report.longreprtext}", file=sys.__stdout__, flush=True)
