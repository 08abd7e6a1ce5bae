"""GET /metrics: who may read it, and what stands in it."""

import importlib
import os
import re
import subprocess
import tomllib
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from portal_house import ROOT, Answer, Browser, House, house, in_loop

from access.actor import Actor
from portal import metrics
from portal.api_problem import OF_GOOD_TOKENS
from portal.certificate_end import ending, validity
from portal.metrics_families import FAMILIES
from portal.metrics_samples import samples
from portal.version import VERSION

STATUS = {
    "mode": "table",
    "table": "inet safeip",
    "max_grants": 100,
    "bans": 2,
    "repairs": 3,
    "closed_packets": 11,
    "flooded_packets": 5,
    "masks": {"count": 2, "latest": []},
    "record": None,
    "memory": 8_000_000,
    "transactions": {"count": 4, "seconds": 0.25, "bounds": [0.001, 0.1], "buckets": [2, 1, 1]},
    "services": {
        "cloud": {"grants": 3, "families": [2, 1], "closed_packets": 7, "ports": ["tcp/443"]},
        "game": {"grants": 0, "families": [0, 0], "closed_packets": 4, "ports": ["tcp/25565"]},
    },
}
PROXY = {"trusted_proxies": (ip_network("127.0.0.0/8"),)}
SAMPLE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")


def figures(answer: Answer) -> dict[str, float]:
    """Each sample with its labels, as it is written."""
    assert answer.status == 200, answer.text
    found = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            name = match["name"] + (f"{{{match['labels']}}}" if match["labels"] else "")
            assert name not in found
            found[name] = float(match["value"])
    return found


def resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def token(there: House, *scopes: str, **more: Any) -> str:
    _token, text = await there.site.access.tokens.add(Actor.CLI, "Prometheus", scopes, **more)
    return text


async def scrape(there: House, text: str | None = None, **headers: str) -> Answer:
    given = {} if text is None else {"Authorization": f"Bearer {text}"}
    answer = await there.get("/metrics", **given, **headers)
    there.now[0] += 5
    return answer


@pytest.fixture
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_FRESH_S", 0.0)


# who


@in_loop
async def test_without_a_good_token_nobody_reads_them(tmp_path: Path) -> None:
    async with house(tmp_path) as there:
        there.peer.status = STATUS
        admin = await there.signed_in("ann", admin=True)
        read = await token(there, "read")
        answers = {
            "nothing": await scrape(there),
            "a session": await admin.get("/metrics"),
            "a token in the query": await there.get(f"/metrics?token={read}&access_token={read}"),
            "a token as a cookie": await there.get("/metrics", Cookie=f"token={read}; Authorization=Bearer {read}"),
            "Basic": await there.get("/metrics", Authorization=f"Basic {read}"),
            "half a token": await scrape(there, read[:-1]),
            "no token's text": await scrape(there, "x" * 5000),
        }
        for name, answer in answers.items():
            assert (answer.status, answer.header("WWW-Authenticate")[:6]) == (401, "Bearer"), name
            assert b"safeip_" not in answer.body, name
        twice = await there.get("/metrics", Authorization=f"Bearer {read}\nAuthorization: Bearer {read}")
        assert twice.status == 400
        assert (await scrape(there, read)).status == 200


@in_loop
async def test_each_scope(tmp_path: Path) -> None:
    async with house(tmp_path) as there:
        there.peer.status = STATUS
        wanted = {"read": 200, "admin": 200, "grant:self": 403, "grant:any": 403, "links": 403}
        for scope, status in wanted.items():
            answer = await scrape(there, await token(there, scope))
            assert answer.status == status, scope
            limited = await scrape(there, await token(there, scope, services=["cloud"]))
            assert limited.status == 403, scope
            assert b"safeip_grants" not in limited.body
        refused = dict(samples(there.site, None)["safeip_token_requests_refused_total"])
        assert refused == {(name,): 8 if name == "not-allowed" else 0 for name in OF_GOOD_TOKENS}
        told = [entry for entry in await there.site.access.history.read() if entry["event"] == "refused"]
        assert [entry["reason"] for entry in told] == ["not-allowed"] * 8
        assert len({entry["by"] for entry in told}) == 8


@in_loop
async def test_guessing_is_counted_and_bans(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY, ban_after=5) as there:
        there.peer.status = STATUS
        good = await token(there, "read")
        statuses = [
            (await scrape(there, f"safeip_aaaaaa_{'a' * 25}{letter}", X_Forwarded_For="203.0.113.5")).status for letter in "bcdefg"
        ]
        assert statuses == [401] * 5 + [429]
        assert (await scrape(there, good, X_Forwarded_For="203.0.113.5")).status == 429, "the right one does not help now"
        found = figures(await scrape(there, good, X_Forwarded_For="203.0.113.6"))
        assert found['safeip_tokens_refused_total{reason="unknown"}'] == 5
        assert found['safeip_bans_given_total{reason="token"}'] == 1


@in_loop
async def test_a_removed_token_is_none(tmp_path: Path) -> None:
    async with house(tmp_path) as there:
        there.peer.status = STATUS
        text = await token(there, "read")
        assert (await scrape(there, text)).status == 200
        await there.site.access.tokens.remove(Actor.CLI, text.split("_")[1])
        assert (await scrape(there, text)).status == 401


@in_loop
async def test_networks_read_without_a_token(tmp_path: Path) -> None:
    networks = (ip_network("192.0.2.7/32"), ip_network("2001:db8:7::9/128"))
    async with house(tmp_path, **PROXY, metrics_networks=networks) as there:
        there.peer.status = STATUS
        seen = {
            "192.0.2.7": 200,
            "::ffff:192.0.2.7": 200,
            "192.0.2.8": 401,
            "2001:db8:7::9": 200,
            "2001:db8:7::8": 401,  # of the same /64
            "192.0.2.7, 192.0.2.8": 401,  # the left one is the client's invention
            "192.0.2.8, 192.0.2.7": 200,
        }
        for address, status in seen.items():
            assert (await scrape(there, X_Forwarded_For=address)).status == status, address
        assert (await scrape(there)).status == 400, "a proxy that does not say for whom"
        assert (await scrape(there, "wrong", X_Forwarded_For="192.0.2.7")).status == 401, "a wrong token is told"


@in_loop
async def test_a_proxy_that_is_not_known_as_one_is_nobodys_network(tmp_path: Path) -> None:
    async with house(tmp_path, metrics_networks=(ip_network("127.0.0.0/8"),)) as there:
        there.peer.status = STATUS
        assert (await scrape(there)).status == 200
        for name in ("X_Forwarded_For", "Forwarded", "Via", "X_Real_IP"):
            assert (await scrape(there, **{name: "203.0.113.5"})).status == 401, name


# what


@in_loop
async def test_every_metric_is_there_with_its_figure(tmp_path: Path, always_fresh: None) -> None:
    async with house(tmp_path) as there:
        there.peer.status = STATUS
        text = await token(there, "read")
        path = await there.link()
        await there.open(path)
        await there.open(await there.link(pin="2468"), pin="1111")
        await there.get("/l/" + "a" * 6 + "-" + "b" * 32)
        there.peer.refuse = "trusted-address", "is trusted"
        await there.open(path)
        await there.api("PUT", "grants/cloud/203.0.113.9", {})
        there.peer.refuse = None
        await there.api("PUT", "grants/cloud/203.0.113.9", {})
        await there.api("POST", "bans", {"address": "203.0.113.66"})
        await there.signed_in("mamie")
        await Browser(there).sign_in("mamie", password="seven purple otters")
        await there.get("/no/such/page")
        await scrape(there, text)
        answer = await scrape(there, text)
        found = figures(answer)
        certificate = {name for name in FAMILIES if "certificate" in name}  # without TLS there is none
        assert {line.split()[2] for line in answer.text.splitlines() if line.startswith("# TYPE")} == set(FAMILIES) - certificate
        assert found | {
            f'safeip_build_info{{version="{VERSION}"}}': 1,
            "safeip_gate_up": 1,
            'safeip_resident_memory_bytes{process="gate"}': 8_000_000,
            'safeip_grants{family="ipv4",service="cloud"}': 2,
            'safeip_grants{family="ipv6",service="cloud"}': 1,
            'safeip_grants{family="ipv6",service="game"}': 0,
            "safeip_grants_max": 100,
            "safeip_grants_recorded": 1,
            'safeip_grants_given_total{holder="link",service="cloud"}': 1,
            'safeip_grants_given_total{holder="cli",service="cloud"}': 1,
            'safeip_grants_given_total{holder="person",service="game"}': 0,
            'safeip_grants_refused_total{holder="link",reason="trusted-address"}': 1,
            'safeip_grants_refused_total{holder="link",reason="pin-wrong"}': 1,
            'safeip_grants_refused_total{holder="link",reason="unknown"}': 0,  # it was looked at alone
            'safeip_grants_refused_total{holder="cli",reason="trusted-address"}': 1,
            'safeip_blocked_packets_total{service="cloud"}': 7,
            'safeip_blocked_packets_total{service="game"}': 4,
            "safeip_flooded_packets_total": 5,
            "safeip_masked_sources": 2,
            "safeip_bans": 2,
            'safeip_bans_given_total{reason="hand"}': 1,
            'safeip_bans_given_total{reason="pin"}': 0,
            'safeip_sign_ins_total{outcome="signed-in"}': 1,
            'safeip_sign_ins_total{outcome="wrong"}': 1,
            'safeip_sign_ins_total{outcome="locked"}': 0,
            "safeip_repairs_total": 3,
            'safeip_transaction_duration_seconds_bucket{le="0.001"}': 2,
            'safeip_transaction_duration_seconds_bucket{le="0.1"}': 3,
            'safeip_transaction_duration_seconds_bucket{le="+Inf"}': 4,
            "safeip_transaction_duration_seconds_count": 4,
            "safeip_transaction_duration_seconds_sum": 0.25,
            'safeip_http_request_duration_seconds_count{method="POST",route="/l/{token}"}': 3,
            'safeip_http_request_duration_seconds_count{method="GET",route="/l/{token}"}': 4,
            'safeip_http_request_duration_seconds_count{method="none",route="none"}': 1,
            'safeip_http_request_duration_seconds_count{method="GET",route="/metrics"}': 1,
            'safeip_http_responses_total{status="404"}': 2,
            'safeip_links{state="open"}': 2,
            'safeip_links{state="paused"}': 0,
            'safeip_people{role="member",state="active"}': 1,
            'safeip_people{role="admin",state="active"}': 0,
            "safeip_tokens": 1,
        } == found
        assert found['safeip_resident_memory_bytes{process="portal"}'] == pytest.approx(resident(), rel=0.2)


@in_loop
async def test_nothing_that_a_visitor_sends_becomes_a_label(tmp_path: Path, always_fresh: None) -> None:
    async with house(tmp_path) as there:
        there.peer.status = STATUS
        text = await token(there, "read")
        link = await there.link("evil label")
        await there.open(link)
        for warm in ("/zzz", "/l/" + "a" * 39, f"/static/{'a' * 16}/none.css", "/metrics/"):
            await there.get(warm)
            await there.get(warm, "PUT")
        before = set(figures(await scrape(there, text)))
        before |= set(figures(await scrape(there, text)))
        for number in range(60):
            evil = f"evil{number}"
            await there.get(f"/{evil}/{evil}")
            await there.get(f"/l/{evil}")
            await there.get(f"/static/{evil}/{evil}.css", evil.upper())
            await there.get("/sign-in", Host=f"{evil}.example", User_Agent=evil, Referer=evil)
            await there.get(f"/metrics?name[]={evil}", Authorization=f"Bearer {evil}", X_Forwarded_For=evil)
            await there.get(f"/auth?service={evil}")
            there.now[0] += 1000
        answer = await scrape(there, text)
        new = {name for name in set(figures(answer)) - before if "/auth" not in name and "/sign-in" not in name}
        assert {name for name in new if "responses" not in name} == set()
        assert b"evil" not in answer.body.lower()
        assert len(there.site.measures._by_route) <= len(there.door.routes) * 2 + 40


@in_loop
async def test_while_the_gate_is_away_the_portal_tells_of_itself(tmp_path: Path) -> None:
    async with house(tmp_path) as there:
        text = await token(there, "read")
        there.gate.close()
        found = figures(await scrape(there, text))
        assert found["safeip_gate_up"] == 0
        assert found["safeip_tokens"] == 1
        assert not [name for name in found if name.startswith(("safeip_grants{", "safeip_blocked", "safeip_transaction"))]


@in_loop
async def test_scrapers_that_come_together_ask_the_gate_once(tmp_path: Path) -> None:
    async with house(tmp_path) as there:
        there.peer.status = STATUS
        text = await token(there, "read")
        await scrape(there, text)
        asked = len(there.peer.asked)
        for _ in range(3):
            await scrape(there, text)
        assert [one["of"] for one in there.peer.asked if one["verb"] == "list"] == ["status"] * (1 + len(there.peer.asked) - asked)
        assert len(there.peer.asked) - asked <= 2
        assert {one["of"] for one in there.peer.asked if one["verb"] == "list"} == {"status"}, "no set is dumped"


@in_loop
async def test_without_the_library_an_answer_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    async with house(tmp_path) as there:
        text = await token(there, "read")
        monkeypatch.setattr(importlib, "import_module", missing)
        await scrape(there, text)
        answer = await scrape(there, text)
        assert answer.status == 501
        assert "python3-prometheus-client" in answer.text
        assert caplog.text.count("python3-prometheus-client") == 1, "told once, and not with each scrape"
        assert (await there.get("/healthz")).status == 200


_LATE = """
import importlib, sys
import portal.serve
from safeip import cell_portal
def mapped():
    return {line.split()[-1] for line in open("/proc/self/maps", encoding="ascii") if " r-xp " in line and "/" in line}
for name in cell_portal._LATER[: len(cell_portal._LATER) - int(sys.argv[1])]:
    importlib.import_module(name)
before = mapped()
import portal.metrics_text
print(*(mapped() - before))
"""


@pytest.mark.parametrize("missing", [0, 2])
def test_the_library_maps_no_code_in_the_cell(missing: int) -> None:
    """With the last two of what is imported before, and as a check of this test without them."""
    command = ["/usr/bin/python3", "-B", "-c", _LATE, str(missing)]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=True)
    assert bool(done.stdout.strip()) == bool(missing), done.stdout


# what belongs together


def test_the_manual_has_each_metric_and_no_other() -> None:
    text = (ROOT / "man" / "safeip.8").read_text("utf-8")
    section = re.search(r"^\.Sh METRICS\n(.*?)^\.Sh ", text, re.MULTILINE | re.DOTALL)
    assert section
    items = re.findall(r"^\.It Li (\S+)(.*)\n((?:[^.\n].*\n)+)", section[1], re.MULTILINE)
    page = {name: (tuple(labels.split()), " ".join(said.split())) for name, labels, said in items}
    assert page == {name: (family.labels, family.means) for name, family in FAMILIES.items()}


def test_the_version_is_that_of_project_and_package() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"] == VERSION
    assert (ROOT / "packaging" / "debian" / "changelog").read_text("utf-8").startswith(f"safeip ({VERSION}-")


@pytest.mark.parametrize("days", [2, 820, 20_000])  # the last ends after 2049, which is written in another way
def test_when_a_certificate_ends(tmp_path: Path, days: int) -> None:
    certificate = tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-subj", "/CN=SafeIP"]
    subprocess.run([*make, "-days", str(days), "-keyout", tmp_path / "key.pem", "-out", certificate], check=True, capture_output=True)
    told = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-startdate", "-enddate"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    moments = [
        float(subprocess.run(["date", "--utc", "+%s", "-d", line.partition("=")[2]], check=True, capture_output=True, text=True).stdout)
        for line in told
    ]
    assert validity(f"words before\n{certificate.read_text()}") == tuple(moments)


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"])
def test_what_is_no_certificate_has_no_end(text: str) -> None:
    assert validity(text) is None


@pytest.mark.parametrize(
    ("lives_d", "left_d", "said"),
    [
        (90, 89, None), (90, 10, None), (90, 9.99, "ends on 2026-03-31"), (90, 0.5, "ends on 2026-03-31"),
        (90, -0.1, "ended on 2026-03-31"), (90, -9, "ended on 2026-03-31"), (6, 1.6, None), (6, 1.4, "ends on 2026-01-06"),
    ],
)  # fmt: skip
def test_an_end_that_something_should_have_put_off(lives_d: float, left_d: float, said: str | None) -> None:
    begin = datetime(2025, 12, 31, tzinfo=UTC).timestamp()
    end = begin + lives_d * 86400
    assert ending(begin, end, end - left_d * 86400) == said
