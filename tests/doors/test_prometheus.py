"""Real Prometheus scrapes the real daemon, as the examples say, over TLS and with a token's file."""

import base64
import contextlib
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from lab.gateway import NAME, ROOT, Gateway
from lab.process import LabError, Process, wait_for
from lab.visitor import Visitor
from portal.metrics_families import FAMILIES

EXAMPLES = ROOT / "examples" / "prometheus"
PASSWORD = "vivid otter ladder 81"
WITHIN_S = 60.0


@dataclass
class Prometheus:
    """A server in the LAN, and what it knows."""

    process: Process
    asker: Visitor

    def api(self, path: str, **query: str) -> Any:
        answer = self.asker.fetch(f"http://127.0.0.1:9090/api/v1/{path}?{urlencode(query)}", timeout=30.0)
        told = json.loads(answer.body)
        assert told["status"] == "success", told
        return told["data"]

    def figures(self, query: str) -> dict[str, float]:
        """Each sample by name and labels, without those of the scrape."""
        found = {}
        for one in self.api("query", query=query)["result"]:
            labels = {key: value for key, value in one["metric"].items() if key not in {"__name__", "instance", "job"}}
            written = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
            name = one["metric"].get("__name__", "")
            found[f"{name}{{{written}}}" if written else name] = float(one["value"][1])
        return found

    def up(self) -> dict[str, float]:
        return {one["metric"]["job"]: float(one["value"][1]) for one in self.api("query", query="up")["result"]}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(prefix="sipt", portal={"trusted_proxies": ["127.0.0.1"]}) as there:
        there.cli("person", "add", "mamie", "--service", "cloud", "--password-stdin", input=PASSWORD + "\n")
        yield there


def config_of(gateway: Gateway) -> str:
    """The example with the certificate that the portal made itself, and jobs that may not read; every second."""
    jobs = {"safeip": gateway.add_token("Prometheus", "read")}
    jobs["links-alone"] = gateway.add_token("links", "links")
    jobs["one-service"] = gateway.add_token("cloud", "read", service=["cloud"])
    jobs["wrong"] = jobs["safeip"][:-4] + "aaaa"
    certificate = gateway.directory / "prometheus.pem"
    certificate.write_bytes((gateway.state / "tls" / "certificate.pem").read_bytes())
    example = (EXAMPLES / "scrape.yml").read_text("utf-8").replace("    # tls_config", "    tls_config").replace("    #   ca_file", "      ca_file")
    head, _, job = example.partition("  - job_name")
    job = f"  - job_name{job}"
    text = f"global: {{ evaluation_interval: 1s }}\nrule_files: [{EXAMPLES / 'rules.yml'}]\n{head}"
    for name, token in jobs.items():
        (gateway.directory / f"{name}.token").write_text(token + "\n", "ascii")
        told = job
        for old, new in {
            "job_name: safeip": f"job_name: {name}",
            "scrape_interval: 30s": "scrape_interval: 1s",
            "/etc/prometheus/safeip.token": str(gateway.directory / f"{name}.token"),
            "/etc/prometheus/safeip.pem": f"{certificate}\n      server_name: home.test",
            "open.example.org:8443": "10.9.0.1:8443",
        }.items():
            assert told.count(old) == 1, old
            told = told.replace(old, new)
        text += told
    return text


@pytest.fixture(scope="module")
def prometheus(gateway: Gateway) -> Iterator[Prometheus]:
    config = gateway.directory / "prometheus.yml"
    config.write_text(config_of(gateway), "utf-8")
    checked = subprocess.run(["promtool", "check", "config", str(config)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    process = gateway.server.start(
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={gateway.directory / 'tsdb'}",
        "--web.listen-address=127.0.0.1:9090", "--log.level=warn", log=gateway.directory / "prometheus.log",
    )  # fmt: skip
    there = Prometheus(process, Visitor(gateway.server, "127.0.0.1", "::1", {}))

    def scraped() -> bool:
        assert process.poll() is None, process.tail()
        with contextlib.suppress(OSError, ValueError):  # it answers in words until it is ready
            return len(there.up()) == 4 and there.up()["safeip"] == 1
        return False

    wait_for("the first scrape", scraped, WITHIN_S, 0.1)
    yield there
    process.stop(30.0)


def use(gateway: Gateway) -> None:
    """What happens in an hour, in some seconds."""
    gateway.nft("flush ruleset")
    wait_for("the repair", lambda: gateway.cli_json("status")["repairs"] == 1, WITHIN_S, 0.1)
    link, pin = gateway.add_link(), gateway.add_link("Jean", ("films",), "--pin", "2468")
    for family in (4, 6):
        assert gateway.visitor.open_link(link, family=family).status == 200
    assert gateway.second.open_link(pin, pin="1357").status == 403
    assert gateway.second.submit(gateway.second.fetch("https://home.test:8443/sign-in"), {"name": "mamie", "password": "no", "code": ""}).status != 303
    assert gateway.second.submit(gateway.second.fetch("https://home.test:8443/sign-in"), {"name": "mamie", "password": PASSWORD, "code": ""}).status == 303
    gateway.cli("grant", "films", "203.0.113.99")
    assert gateway.cli("grant", "films", "10.9.0.10", check=False).returncode == 1
    with gateway.stranger.namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knock:
        for _ in range(5):
            knock.sendto(b"knock", ("198.51.100.1", 25565))
    # a neighbour with a stranger's distance
    gateway.server.sysctl("net.ipv4.ip_default_ttl", 54)
    assert Visitor(gateway.server, "10.9.0.10", "", {NAME: ("10.9.0.1", "")}).reaches("http://home.test/", timeout=30)
    use_tokens(gateway)
    for address, status in ((gateway.visitor.ipv4, 204), (gateway.stranger.ipv4, 401)):
        assert gateway.local.fetch("https://home.test:8443/auth?service=cloud", headers={"X-Forwarded-For": address}).status == status
    gateway.cli("ban", "203.0.113.66")
    gateway.visitor.fetch("https://home.test:8443/no/such/page")


def use_tokens(gateway: Gateway) -> None:
    bot = {"Authorization": f"Bearer {gateway.add_token('bot', 'grant:any')}"}
    for place, status in (("films/203.0.113.98", 201), ("films/203.0.113.98", 200), ("films/10.9.0.10", 422), ("wine/203.0.113.98", 404)):
        answer = gateway.second.fetch(f"https://home.test:8443/api/v1/grants/{place}", "PUT", headers=bot)
        assert answer.status == status, answer.text
    text = gateway.add_token("router", "grant:self", service="game")
    proof = base64.b64encode(f"{text.split('_')[1]}:{text}".encode()).decode()
    router = {"Authorization": f"Basic {proof}", "User-Agent": "router/1"}
    home = Visitor(gateway.visitor.namespace, gateway.visitor.ipv4, "", gateway.visitor.names)  # no browser, so no cookies
    for host, word in (("game", "good"), ("game", "nochg"), ("cloud", "nohost")):
        answer = home.fetch(f"https://home.test:8443/nic/update?hostname={host}", headers=router)
        assert answer.text.split()[0] == word, answer.text


def test_every_metric_is_there_with_the_right_figures_after_some_use(gateway: Gateway, prometheus: Prometheus) -> None:
    use(gateway)
    wanted = {
        "safeip_gate_up": 1,
        'safeip_grants{family="ipv4",service="cloud"}': 1,
        'safeip_grants{family="ipv6",service="cloud"}': 1,
        'safeip_grants{family="ipv4",service="films"}': 2,
        'safeip_grants{family="ipv4",service="game"}': 1,
        "safeip_grants_max": 100_000,
        "safeip_grants_recorded": 1,
        'safeip_grants_given_total{holder="link",service="cloud"}': 2,
        'safeip_grants_given_total{holder="cli",service="films"}': 1,
        'safeip_grants_given_total{holder="token",service="films"}': 2,
        'safeip_grants_given_total{holder="token",service="game"}': 2,
        'safeip_grants_given_total{holder="person",service="cloud"}': 0,
        'safeip_grants_refused_total{holder="link",reason="pin-wrong"}': 1,
        'safeip_grants_refused_total{holder="cli",reason="trusted-address"}': 1,
        'safeip_grants_refused_total{holder="token",reason="trusted-address"}': 1,
        'safeip_token_requests_refused_total{reason="trusted-address"}': 1,
        'safeip_token_requests_refused_total{reason="unknown-service"}': 2,
        'safeip_token_requests_refused_total{reason="gate-unavailable"}': 0,
        'safeip_blocked_packets_total{service="game"}': 5,
        'safeip_blocked_packets_total{service="films"}': 0,
        "safeip_flooded_packets_total": 0,
        "safeip_masked_sources": 1,
        "safeip_bans": 1,
        'safeip_bans_given_total{reason="hand"}': 1,
        'safeip_sign_ins_total{outcome="signed-in"}': 1,
        'safeip_sign_ins_total{outcome="wrong"}': 1,
        'safeip_tokens_refused_total{reason="expired"}': 0,
        "safeip_repairs_total": 1,
        'safeip_links{state="open"}': 2,
        'safeip_people{role="member",state="active"}': 1,
        "safeip_tokens": 5,
        "safeip_certificate_stale": 0,
        'safeip_http_request_duration_seconds_count{method="POST",route="/l/{token}"}': 3,
        'safeip_http_request_duration_seconds_count{method="POST",route="/sign-in"}': 2,
        'safeip_http_request_duration_seconds_count{method="PUT",route="/api/v1/grants/{service}/{address}"}': 4,
        'safeip_http_request_duration_seconds_count{method="GET",route="/nic/update"}': 3,
        'safeip_http_request_duration_seconds_count{method="GET",route="/auth"}': 2,
        'safeip_http_request_duration_seconds_count{method="none",route="none"}': 1,
        'safeip_http_responses_total{status="404"}': 2,
    }

    found: dict[str, float] = {}

    def there() -> bool:
        nonlocal found
        found = prometheus.figures('{__name__=~"safeip_.*",job="safeip"}')
        return {name: found.get(name) for name in wanted} == wanted

    with contextlib.suppress(LabError):
        wait_for("the figures", there, WITHIN_S, 0.2)
    assert {name: found.get(name) for name in wanted} == wanted
    seen = {re.sub(r"_(bucket|count|sum)$", "", name.partition("{")[0]) for name in found}
    assert seen == set(FAMILIES)
    assert found["safeip_transaction_duration_seconds_count"] >= 4
    assert found['safeip_transaction_duration_seconds_bucket{le="+Inf"}'] == found["safeip_transaction_duration_seconds_count"]
    for name, pid in (("gate", gateway.gate_pid()), ("portal", gateway.portal_pid())):
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        assert found[f'safeip_resident_memory_bytes{{process="{name}"}}'] == pytest.approx(pages * 4096, rel=0.3), name
    ends = gateway.host.run("openssl", "x509", "-in", str(gateway.state / "tls/certificate.pem"), "-noout", "-enddate").stdout
    told = gateway.host.run("date", "--utc", "+%s", "-d", ends.strip().partition("=")[2]).stdout
    assert found["safeip_certificate_expires_timestamp_seconds"] == float(told)


def test_who_may_not_read_scrapes_nothing(gateway: Gateway, prometheus: Prometheus) -> None:
    # each scrape has a second, which may be too little on a busy machine: then it is the next one that tells
    wait_for("every job", lambda: prometheus.up() == {"safeip": 1, "links-alone": 0, "one-service": 0, "wrong": 0}, WITHIN_S, 0.2)
    assert prometheus.figures('max_over_time(up{job!="safeip"}[1h]) > 0') == {}
    assert prometheus.figures('{__name__=~"safeip_.*",job!="safeip"}') == {}

    def forbidden() -> set[str]:
        return {one["labels"]["job"] for one in prometheus.api("targets")["activeTargets"] if one["lastError"].endswith("403 Forbidden")}

    wait_for("the answers", lambda: forbidden() == {"links-alone", "one-service"}, WITHIN_S, 0.2)
    refused = 'safeip_tokens_refused_total{reason="unknown"}'
    wait_for("the wrong token's figure", lambda: prometheus.figures("safeip_tokens_refused_total").get(refused, 0) >= 1, WITHIN_S, 0.2)
    assert gateway.visitor.fetch("https://home.test:8443/metrics").status == 401
    assert gateway.cli_json("bans") == [] or {one["address"] for one in gateway.cli_json("bans")} == {"203.0.113.66"}


def test_the_alerts_are_loaded_and_the_flush_is_told(gateway: Gateway, prometheus: Prometheus) -> None:
    [group] = prometheus.api("rules")["groups"]
    assert len(group["rules"]) >= 10
    wait_for("every rule", lambda: {rule["health"] for rule in prometheus.api("rules")["groups"][0]["rules"]} == {"ok"}, WITHIN_S, 0.2)
    gateway.nft("flush ruleset")

    def fires() -> bool:
        return any(one["metric"]["alertname"] == "SafeIPFlushed" for one in prometheus.api("query", query='ALERTS{alertstate="firing"}')["result"])

    wait_for("the alert", fires, WITHIN_S, 0.2)


def test_each_query_of_the_dashboard_finds_something(prometheus: Prometheus) -> None:
    board = json.loads((EXAMPLES / "grafana.json").read_text("utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert queries

    def found(expression: str) -> bool:
        query = expression.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("[24h]", "[1m]")
        return bool(prometheus.api("query", query=query.removesuffix(" > 0"))["result"])

    empty = queries

    def none_empty() -> bool:
        nonlocal empty
        empty = [expression for expression in empty if not found(expression)]
        return empty == []

    with contextlib.suppress(LabError):
        wait_for("what each finds", none_empty, WITHIN_S, 0.2)
    assert empty == []


def test_promtool_finds_nothing_wrong_with_what_the_daemon_says(gateway: Gateway) -> None:
    token = gateway.add_token("promtool", "read")
    answer = gateway.visitor.fetch("https://home.test:8443/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    done = subprocess.run(["promtool", "check", "metrics"], input=answer.body, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(answer.body) < 64 * 1024


def test_nothing_was_denied_in_the_cell(gateway: Gateway, prometheus: Prometheus) -> None:
    """The library was imported after the portal had entered it."""
    wait_for("a scrape", lambda: prometheus.up().get("safeip") == 1, WITHIN_S, 0.2)
    text = gateway.log.read_text("utf-8")
    assert "prometheus" not in text
    assert "failed" not in text
    maps = Path(f"/proc/{gateway.portal_pid()}/maps").read_text("ascii")
    assert "mmap.cpython" in maps, "what could not be mapped any more is there"
