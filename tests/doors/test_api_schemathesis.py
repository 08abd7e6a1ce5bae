"""schemathesis judges the API by its description, on the real daemon: as an admin, as who may read, as nobody."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.gateway import GATEWAY4, Gateway

# QUERY, a new method, is nothing that the HTTP parser lets through to the API.
CONFIG = """
seed = 1
[generation]
database = "none"
[phases.coverage]
unexpected-methods = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"]
[checks]
positive_data_acceptance.enabled = false
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 413, 415, 422]
"""
# What the schemas let through may still be refused: an address that is trusted, a target that is none. All else is judged.
PHASES = {"admin": ("examples,coverage,fuzzing", "5", "all"), "read": ("coverage", "1", "all"), "nobody": ("coverage", "1", "positive")}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipy", portal={"ban_after": 1000}) as made:  # a wrong token is tried for every operation
        made.add_link()
        yield made


@pytest.mark.parametrize("who", PHASES)
def test_every_answer_is_one_that_is_described(gateway: Gateway, tmp_path: Path, who: str) -> None:
    """No 500; no status, type, header or body that is not described; what the schemas bar is refused; no token, no answer."""
    phases, examples, mode = PHASES[who]
    (tmp_path / "st.toml").write_text(CONFIG)
    tokens = {"admin": ["admin"], "read": ["read"]}
    header = [f"--header=Authorization: Bearer {gateway.add_token(who, *tokens[who])}"] if who in tokens else []
    before = opened(gateway), gateway.cli_json("link", "list")
    url = f"https://{GATEWAY4}:8443"
    command = [
        "env", f"--chdir={tmp_path}", sys.executable, "-m", "schemathesis.cli", "--no-color", f"--config-file={tmp_path}/st.toml", "run", f"{url}/api/v1/openapi.json",
        f"--url={url}", "--tls-verify=false", f"--phases={phases}", f"--max-examples={examples}", f"--mode={mode}", "--continue-on-failure", "--no-shrink", *header,
    ]  # fmt: skip
    done: subprocess.CompletedProcess[str] = gateway.visitor.namespace.run(*command, check=False, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    assert "Tested: 2" in done.stdout, "more than twenty operations"
    assert gateway.healthy()
    assert "failed" not in gateway.daemon.tail()
    if who != "admin":
        assert (opened(gateway), gateway.cli_json("link", "list")) == before


def opened(gateway: Gateway) -> dict[str, set[str]]:
    """What the kernel holds open, and whom it bars."""
    kept = ("cloud", "films", "game", "banned")
    return {name: {element.value for element in elements} for name, elements in gateway.sets().items() if name[:-1] in kept}
