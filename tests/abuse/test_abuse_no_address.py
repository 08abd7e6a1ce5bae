"""A trusted proxy that does not tell who asks, or garbles it: nothing is granted anywhere, page and log say why, and nobody fills the log."""

import base64
import logging
from ipaddress import ip_network
from pathlib import Path

import pytest
from abuse_api import problem
from abuse_town import Browser, town
from portal_house import ask_raw, house, in_loop

from access.actor import Actor
from portal.complaints import MOST, WITHIN_S, Complaints

SECRET = "k3v9aa-thetokenofalink"
GOOD = {
    "X-Forwarded-For": "203.0.113.5",
    "Forwarded": "for=203.0.113.5",
    "X-Real-IP": "203.0.113.5",
    "CF-Connecting-IP": "203.0.113.5",
}
BAD = {
    "X-Forwarded-For": ["", SECRET, "203.0.113.5, unknown", "203.0.113.5, 127.0.0.1:x", "127.0.0.1", "203.0.113.5, ", "fe80::1%eth0"],
    "Forwarded": ["", SECRET, "203.0.113.5", "for=unknown", "for=_x", "for=203.0.113.5, for=127.0.0.1x", "for=127.0.0.1", "by=203.0.113.5"],
    "X-Real-IP": ["", SECRET, "203.0.113.5, 203.0.113.6", "203.0.113.5:443", "127.0.0.1", "203.0.113.5\n203.0.113.5"],
    "CF-Connecting-IP": ["", SECRET, "203.0.113.5 203.0.113.6", "::ffff:127.0.0.1", "203.0.113.5\n203.0.113.6"],
}
SPELLINGS = [*GOOD, "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Original-Forwarded-For", "Client-IP", "X_Forwarded_For", "Via"]


@pytest.mark.parametrize("header", GOOD)
@in_loop
async def test_nothing_is_granted_to_nobody(tmp_path: Path, header: str, caplog: pytest.LogCaptureFixture) -> None:
    """At every door that grants, keeps, or tells what is granted. Each other header says who asks, and none of them counts."""
    others = {name.replace("-", "_"): "198.51.100.7" for name in SPELLINGS if name.lower() != header.lower()}
    others |= {"Forwarded": "for=198.51.100.7"} if header != "Forwarded" else {}
    key = header.replace("-", "_")
    networks = (ip_network("127.0.0.0/8"), ip_network("198.51.100.0/24"))
    async with town(
        tmp_path, client_ip_header=header, url_ipv6="https://open6.example.org", metrics_networks=networks, trusted_networks=(ip_network("10.0.0.0/8"),)
    ) as there:
        home = there.house
        link = await there.link()
        path = f"/l/{there.access.links.token(link)}"
        _token, text = await there.access.tokens.add(Actor.CLI, "Router", ["grant:self"])
        _prefix, user, secret = text.split("_", 2)
        basic = "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
        good = Browser(home, headers={**others, key: GOOD[header]})
        opened = await good.submit(path, {})
        assert [address for _, address, _ in there.gate] == ["203.0.113.5"]
        ticket = opened.text.partition('data-also="https://open6.example.org')[2].partition('"')[0]
        assert ticket
        stay = opened.text.partition('data-form="')[2].partition('"')[0]
        member = await there.at("mamie")
        router = await home.get("/nic/update?hostname=cloud", Authorization=basic, User_Agent="router", **good.headers)
        assert router.text == "good 203.0.113.5\n"
        assert (await home.get("/api/v1/grants/cloud/self", "PUT", Authorization=f"Bearer {text}", **good.headers)).status == 200
        assert (await good.get("/auth?service=cloud")).status == 204
        there.gate.clear()
        for value in [None, *BAD[header]]:
            bad = {**others, **({} if value is None else {key: value})}
            forms = [Browser(home, jar=dict(one.jar), headers=bad, token=one.token) for one in (good, member)]
            for browser in forms:
                browser.address = "198.51.100.7"
                if header == "X-Forwarded-For" and value is None:
                    browser.headers["X_Forwarded_For"] = ""
            visitor, person = forms
            for answer in (
                await visitor.get(path),
                await visitor.post(path),
                await person.get("/me"),
                await person.post("/me/open", {"service": "cloud"}),
                await visitor.post("/sign-in", {"name": "mamie", "password": "x"}),
            ):
                assert answer.status == 400, (value, answer.text)
                assert "Your address cannot be told" in answer.text
                assert "its proxy does not say who asks" in answer.text
                assert SECRET not in answer.text, "what was sent is not shown"
            for answer in (
                await visitor.post(ticket, token=None, Origin="https://open.example.org"),
                await visitor.post(f"{path}/stay", token=stay),
            ):
                assert (answer.status, answer.json) == (400, {"problem": "no-client-address"})
            assert (await visitor.get("/auth?service=cloud")).status == 400
            update = await Browser(home, "198.51.100.7", headers=bad | visitor.headers).get("/nic/update?hostname=cloud", Authorization=basic, User_Agent="router")
            assert update.text == "911\n"
            own = await home.get("/api/v1/grants/cloud/self", "PUT", Authorization=f"Bearer {text}", **visitor.headers)
            assert problem(own) == (400, "no-client-address")
            assert problem(await home.get("/metrics", **visitor.headers)) == (400, "no-client-address")
        assert not there.gate
        assert (await good.submit(path, {})).status == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "portal.site"]
    assert 2 <= len(lines) <= 5, lines
    for line in lines:
        assert line.startswith("whoever asks by way of 127.0.0.1 is granted nothing: ")
        assert header in line
        for sent in (SECRET, "203.0.113", "198.51", "unknown", "eth0"):
            assert sent not in line, "nothing that was sent"


@in_loop
async def test_the_log_tells_of_a_proxy_that_nobody_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On the gateway itself nobody passes; in a trusted network they do, as they would without the header, and the log says what that means."""
    async with house(tmp_path, trusted_networks=(ip_network("127.0.0.0/8"),)) as home:
        for _ in range(3):
            answer = await home.get("/", X_Forwarded_For="198.51.100.7")
            assert answer.status == 400
            assert "127.0.0.1 passes visitors on and is not in portal.trusted_proxies" in answer.text
        assert (await home.get("/")).status == 200
    [record] = caplog.records
    assert record.getMessage() == "whoever asks by way of 127.0.0.1 is granted nothing: 127.0.0.1 passes visitors on and is not in portal.trusted_proxies"
    caplog.clear()
    (tmp_path / "near").mkdir()
    async with house(tmp_path / "near", trusted_proxies=(ip_network("127.0.0.1/32"),)) as home:
        for _ in range(3):  # a proxy in the house, in front of which stands one that is named
            head = b"PROXY TCP4 10.1.2.3 192.0.2.9 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            assert (await ask_raw(home.proxied, head + b"X-Forwarded-For: 198.51.100.7\r\n\r\n")).status == 200
        assert (await ask_raw(home.proxied, head + b"\r\n")).status == 200
    [record] = caplog.records
    assert record.getMessage().startswith("10.1.2.3 is in gate.trusted_networks and sends X-Forwarded-For: ")


def test_complaints_are_bounded_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    complaints = Complaints(logging.getLogger("some"), lambda: now[0])
    for _ in range(100):
        for number in range(MOST + 10):
            complaints.tell(f"line {number}")
    assert [record.getMessage() for record in caplog.records] == [f"line {number}" for number in range(MOST)]
    caplog.clear()
    now[0] = WITHIN_S
    complaints.tell("line 0")
    complaints.tell("line 0")
    left = 100 * (MOST + 10) - MOST
    assert [record.getMessage() for record in caplog.records] == [f"{left} more complaints like those before were left out of the log", "line 0"]
