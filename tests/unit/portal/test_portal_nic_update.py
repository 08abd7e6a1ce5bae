"""GET /nic/update: what a router's DynDNS client may say, and what it is told. The abuse first."""

import base64
import gc
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import quote

import pytest
from portal_house import Answer, House, house, in_loop

from access import pace
from access.actor import Actor
from access.history import Wanted
from access.services import Service
from portal.api_problem import OF_GOOD_TOKENS

HERE4, HERE6 = "203.0.113.7", "2001:db8:1::10"
LINE6 = "2001:db8:1::/64"
PROXY = {"trusted_proxies": (ip_network("127.0.0.1/32"),)}
FILMS = Service("films", "Films", "https://cloud.example.org/films/", 3600, 86400, ("tcp/8096",))


async def token(h: House, *scopes: str, **more: object) -> str:
    """A new token's text."""
    _token, text = await h.site.access.tokens.add(Actor.CLI, "Mamie's router", list(scopes or ("grant:self",)), **more)
    return text


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def shown(text: str) -> str:
    """What a client sends of a token."""
    return basic(text.split("_")[1], text)


async def call(h: House, text: str | None, query: str = "hostname=open.example.org", seen: str = HERE4, **headers: str) -> Answer:
    given = {"X_Forwarded_For": seen, "User_Agent": "inadyn/2.10.0", **headers}
    if text is not None:
        given["Authorization"] = shown(text)
    return await h.get(f"/nic/update?{query}" if query else "/nic/update", **given)


def opened(h: House) -> set[tuple[str, str]]:
    return {(service, address) for service, address, _holder in h.peer.grants}


# what must not open


@pytest.mark.parametrize(
    "browser",
    [
        {"Sec_Fetch_Site": "none"}, {"Sec_Fetch_Mode": "no-cors"}, {"Sec_Fetch_Dest": "image"}, {"sec_fetch_user": "?1"},
        {"Cookie": "a=b"}, {"Cookie": ""}, {"Origin": "https://evil.example"}, {"Origin": "null"},
    ],
)  # fmt: skip
@in_loop
async def test_a_browser_that_has_stored_the_password_opens_nothing(tmp_path: Path, browser: dict[str, str]) -> None:
    async with house(tmp_path, **PROXY) as h:
        answer = await call(h, await token(h, "grant:any"), **browser)
        assert answer.status == 403
        assert answer.header("WWW-Authenticate") == ""
        assert not h.peer.grants


@in_loop
async def test_only_get_acts(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        text = await token(h)
        for method in ("HEAD", "POST", "PUT", "OPTIONS"):
            answer = await h.get("/nic/update?hostname=cloud", method, Authorization=shown(text), User_Agent="x", X_Forwarded_For=HERE4)
            assert answer.status == 405
        assert not h.peer.grants


@in_loop
async def test_whoever_shows_no_good_token_is_not_let_in_and_learns_no_more(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        good, other, reads = await token(h), await token(h), await token(h, "read", "links")
        user, secret = good.split("_")[1:]
        over = await token(h, expires_s=60)
        gone = await token(h)
        await h.site.access.tokens.remove(Actor.CLI, gone.split("_")[1])
        h.now[0] += 61
        answers = []
        for number, authorization in enumerate(
            (
                None, "", "Basic", "Basic =", "Basic %%%", "Basic " + base64.b64encode(b"\xff\xfe:x").decode(), basic(user, ""),
                base64.b64encode(f"{user}:{good}".encode()).decode(), f"Bearer {good}", basic("", good), basic(user.upper(), good),
                basic(user, secret[:-1]), basic(user, f"{secret}a"), basic(user, other), basic(other.split("_")[1], good), basic(good, ""),
                basic(user, good.upper()), basic("mamie", "four words nobody guesses"), shown(over), shown(gone), shown(reads),
                f"{shown(good)}\n{shown(good)}",
            )
        ):  # fmt: skip
            headers = {} if authorization is None else {"Authorization": authorization}
            answers.append(await call(h, None, seen=f"198.51.100.{number}", **headers))
        assert {answer.status for answer in answers} == {401}
        assert {answer.text for answer in answers} == {"badauth\n"}
        assert {answer.header("WWW-Authenticate") for answer in answers} == {'Basic realm="SafeIP", charset="UTF-8"'}
        assert not h.peer.grants
        assert (await call(h, good)).text == f"good {HERE4}\n"


@in_loop
async def test_whoever_guesses_is_banned_and_hears_abuse(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        good = await token(h)
        user = good.split("_")[1]
        # a router with an old password says the same again and again, which is one try
        for _ in range(40):
            assert (await call(h, None, Authorization=basic(user, "x" * 26))).status == 401
        assert (await call(h, good)).text == f"good {HERE4}\n"
        for number in range(9):
            assert (await call(h, None, Authorization=basic(user, f"{number}" * 26))).status == 401
        answer = await call(h, good)
        assert (answer.status, answer.text) == (200, "abuse\n")
        assert (await call(h, good, seen="203.0.113.8")).text == "good 203.0.113.8\n"


@in_loop
async def test_whoever_calls_too_often_hears_abuse(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        text, other = await token(h), await token(h)
        for number in range(20):
            assert (await call(h, text)).text == f"{'nochg' if number else 'good'} {HERE4}\n"
        asked = len(h.peer.asked)
        for seen in (HERE4, "203.0.113.8", "10.1.2.3"):
            answer = await call(h, text, seen=seen)
            assert (answer.status, answer.text) == (200, "abuse\n")
        assert len(h.peer.asked) == asked
        assert opened(h) == {("cloud", HERE4), ("game", HERE4)}
        assert (await call(h, other, seen="203.0.113.9")).text == "good 203.0.113.9\n"


@in_loop
async def test_whoever_changes_too_much_hears_abuse_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MOST", 3)
    async with house(tmp_path, **PROXY) as h:
        text, other = await token(h, "grant:any"), await token(h)
        for number in range(3):
            assert (await call(h, text, f"hostname=cloud&myip=192.0.2.{number}")).text == f"good 192.0.2.{number}\n"
        before, asked = opened(h), len(h.peer.asked)
        for query in ("hostname=cloud&myip=192.0.2.9", "hostname=cloud&myip=192.0.2.2", "hostname=open.example.org"):
            answer = await call(h, text, query)
            assert (answer.status, answer.text) == (200, "abuse\n")
        assert opened(h) == before
        assert len(h.peer.asked) == asked
        assert (await call(h, other, seen="203.0.113.9")).text == "good 203.0.113.9\n"


@in_loop
async def test_grant_self_opens_where_it_comes_from_whatever_it_says(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        text = await token(h)
        for sent in ("192.0.2.1", "192.0.2.1,2001:db8:9::1", HERE4, "", "nonsense", "10.1.2.3", "0.0.0.0"):
            for query in (f"myip={sent}", f"myipv6={sent}&ip6lanprefix=2001:db8:9::/64", ""):
                answer = await call(h, await token(h), f"hostname=cloud&{query}")
                assert answer.text.split()[1] == HERE4
        assert opened(h) == {("cloud", HERE4)}
        assert (await call(h, text, "hostname=cloud&myip=192.0.2.1", seen=HERE6)).text == f"good {HERE6}\n"
        assert opened(h) == {("cloud", HERE4), ("cloud", LINE6)}


@in_loop
async def test_a_token_opens_nothing_beyond_its_services(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        text = await token(h, "admin", services=["game"])
        for name in ("cloud", "cloud.example.org"):
            assert (await call(h, text, f"hostname={name}")).text == "nohost\n"
        assert (await call(h, text, "hostname=open.example.org")).text == f"good {HERE4}\n"
        assert opened(h) == {("game", HERE4)}


@in_loop
async def test_what_a_router_sends_is_not_played_back_but_as_an_address(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        text = await token(h, "grant:any")
        for sent in ("2001:db8:2::/64<b>", "2001:db8:2::/x\r\nX: y", "192.0.2.1/24", "192.0.2.1\r\nX: y", "fe80::1%<b>", "1" * 5000, "192.0.2.1%0"):
            answer = await call(h, text, f"hostname=cloud&myip={quote(sent)}")
            assert answer.status == 200
            assert answer.text.split()[1] in {HERE4, "2001:db8:2::/64"}
            assert answer.header("X") == ""
            assert answer.header("Content-Type") == "text/plain; charset=utf-8"


# what it is for


@in_loop
async def test_first_good_then_nochg_then_the_old_address_leaves(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        text = await token(h, duration_s=7200)
        assert (await call(h, text)).text == f"good {HERE4}\n"
        assert {grant["remaining_ms"] for grant in h.peer.grants.values()} == {7_200_000}
        assert {grant["holder"] for grant in h.peer.grants.values()} == {f"token:{text.split('_')[1]}"}
        assert (await call(h, text)).text == f"nochg {HERE4}\n"
        assert (await call(h, text, seen=HERE6)).text == f"good {HERE6}\n"
        assert (await call(h, text, seen="203.0.113.8")).text == "good 203.0.113.8\n"
        assert {address for _, address in opened(h)} == {"203.0.113.8", LINE6}
        # as one change for the gate, never with nothing open
        assert [asked["verb"] for asked in h.peer.asked if asked["verb"] == "revoke"] == []


@in_loop
async def test_what_ended_is_good_again(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        text = await token(h)
        await call(h, text)
        h.peer.grants.clear()
        assert (await call(h, text)).text == f"good {HERE4}\n"


@pytest.mark.parametrize(
    ("query", "said", "addresses"),
    [
        ("myip=192.0.2.1", "192.0.2.1", {"192.0.2.1"}),
        ("myip=2001:db8:2::1", "2001:db8:2::1", {"2001:db8:2::/64"}),
        ("myip=192.0.2.1,2001:db8:2::1", "192.0.2.1,2001:db8:2::1", {"192.0.2.1", "2001:db8:2::/64"}),
        ("myip=192.0.2.1&myipv6=2001:db8:2::1", "192.0.2.1,2001:db8:2::1", {"192.0.2.1", "2001:db8:2::/64"}),
        ("myip=192.0.2.1&myip=2001:db8:2::1", "192.0.2.1,2001:db8:2::1", {"192.0.2.1", "2001:db8:2::/64"}),
        # as a Fritz!Box has it: its own address is in another network than its home's
        ("myip=192.0.2.1&myipv6=2001:db8:2::1&ip6lanprefix=2001:db8:3::/64", "192.0.2.1,2001:db8:3::/64", {"192.0.2.1", "2001:db8:3::/64"}),
        ("ip6lanprefix=2001:db8:3::/64", "2001:db8:3::/64", {"2001:db8:3::/64"}),
        ("ip6lanprefix=2001:DB8:3:100::/56", "2001:db8:3:100::/64", {"2001:db8:3:100::/64"}),
        ("myip=::ffff:192.0.2.1", "192.0.2.1", {"192.0.2.1"}),
        ("myip=192.0.2.1,192.0.2.2", "192.0.2.2", {"192.0.2.2"}),
        # what cannot be where the world sees it
        *((f"myip={quote(sent)}", HERE4, {HERE4}) for sent in (
            "", "0.0.0.0", "255.255.255.255", "127.0.0.1", "10.1.2.3", "100.64.1.2", "169.254.1.1", "224.0.0.1", "192.0.2.0/24", "nonsense",
            "::", "::1", "fe80::1", "fe80::1%eth0", "ff02::1", "<ipaddr>",
        )),
        ("myip=10.1.2.3&myipv6=2001:db8:2::1", "2001:db8:2::1", {"2001:db8:2::/64"}),
        ("", HERE4, {HERE4}),
    ],
)  # fmt: skip
@in_loop
async def test_what_a_token_with_grant_any_sends_is_believed(tmp_path: Path, query: str, said: str, addresses: set[str]) -> None:
    async with house(tmp_path, **PROXY) as h:
        answer = await call(h, await token(h, "grant:any"), f"hostname=cloud&{query}")
        assert (answer.status, answer.text) == (200, f"good {said}\n")
        assert opened(h) == {("cloud", address) for address in addresses}


@in_loop
async def test_hostnames_stand_for_services(tmp_path: Path) -> None:
    services = {"cloud": Service("cloud", "Nextcloud", "https://cloud.example.org/", 43200, 86400, ("tcp/443",)), "films": FILMS}
    services["game"] = Service("game", "Game", None, 7200, 86400, ("tcp/25565",))
    async with house(tmp_path, services=services, url_ipv4="https://open4.example.org:8443", **PROXY) as h:
        for name, wanted in (
            ("open.example.org", {"cloud", "films", "game"}), ("Open.Example.ORG.", {"cloud", "films", "game"}),
            ("open4.example.org", {"cloud", "films", "game"}), ("game", {"game"}), ("cloud.example.org", {"cloud", "films"}),
            ("films,game", {"films", "game"}),
        ):  # fmt: skip
            h.peer.grants.clear()
            answer = await call(h, await token(h), f"hostname={name}")
            assert answer.text == f"good {HERE4}\n" * (1 + name.count(","))
            assert {service for service, _ in opened(h)} == wanted
        text = await token(h)
        assert (await call(h, text, "hostname=game,elsewhere.example.org,films")).text == f"good {HERE4}\nnohost\ngood {HERE4}\n"
        assert (await call(h, text, "hostname=elsewhere.example.org,x")).text == "nohost\nnohost\n"
        for query in ("", "hostname=", "hostname=game,", "host=game", "myip=192.0.2.1"):
            assert (await call(h, text, query)).text == "notfqdn\n"
        assert (await call(h, text, "hostname=" + ",".join(["game"] * 21))).text == "numhost\n"
        assert (await call(h, text, "hostname=game", User_Agent="")).text == "badagent\n"


@in_loop
async def test_old_routers_take_no_more_than_the_secret(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        text = await token(h)
        user, secret = text.split("_")[1:]
        assert len(secret) <= 32
        assert (await call(h, None, Authorization=basic(user, secret))).text == f"good {HERE4}\n"
        assert (await call(h, None, Authorization=basic(user, secret).replace("Basic", "basic"))).text == f"nochg {HERE4}\n"


@in_loop
async def test_a_router_in_a_network_that_is_never_closed_has_nothing_to_open(tmp_path: Path) -> None:
    """`nochg`: all is as it should be. Any other word would have its client stop, or try again for ever."""
    async with house(tmp_path, **PROXY) as h:
        text = await token(h, "grant:any")
        for query in ("hostname=cloud", "hostname=cloud&myip=10.1.2.3"):
            assert (await call(h, text, query, seen="10.1.2.3")).text == "nochg 10.1.2.3\n"
        assert not h.peer.grants
        assert (await call(h, text, "hostname=cloud&myip=192.0.2.1", seen="10.1.2.3")).text == "good 192.0.2.1\n"


@in_loop
async def test_the_gate_says_no_or_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        text = await token(h)
        h.peer.refuse = ("too-many", "100 grants are open, the most allowed")
        assert (await call(h, text)).text == "911\n"
        h.peer.refuse = None
        assert (await call(h, text)).text == f"good {HERE4}\n"
        h.gate.close()
        assert (await call(h, text)).text == "911\n"
        gc.collect()


@in_loop
async def test_the_admin_sees_why_a_router_is_stuck_and_once_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MOST", 3)
    async with house(tmp_path, **PROXY) as h:

        async def told(text: str) -> list[tuple[str, str]]:
            wanted = Wanted(event="refused", who=f"token:{text.split('_')[1]}", outcome="refused")
            return [(entry["reason"], entry["from"]) for entry in await h.site.access.history.read(100, wanted)]

        stuck, reads, wild = await token(h, services=["game"]), await token(h, "read"), await token(h, "grant:any")
        for _ in range(3):
            assert (await call(h, stuck, "hostname=cloud,game")).text == f"nohost\n{'nochg' if _ else 'good'} {HERE4}\n"
        assert await told(stuck) == [("unknown-service", HERE4)]
        for query, agent in (("hostname=", "x"), ("", "x"), ("hostname=" + "game," * 20 + "game", "x"), ("hostname=game", "")):
            await call(h, stuck, query, User_Agent=agent)
        assert await told(stuck) == [(reason, HERE4) for reason in ("unknown-service", "bad-input", "bad-request")]
        for code in ("too-many", "kernel", "new-in-2030"):
            h.peer.refuse = (code, "no")
            assert (await call(h, stuck, "hostname=game")).text == "911\n"
        h.peer.refuse = None
        assert [reason for reason, _ in await told(stuck)][3:] == ["too-many", "kernel", "refused"]
        assert (await call(h, reads)).status == 401
        assert await told(reads) == [("not-allowed", HERE4)]
        for number in range(5):
            await call(h, wild, f"hostname=cloud&myip=192.0.2.{number}")
        assert await told(wild) == [("too-many-tries", HERE4)]
        tally = h.site.access.history.tally
        assert {reason: tally["denied", reason] for reason in ("unknown-service", "bad-input", "not-allowed", "too-many-tries")} == {
            "unknown-service": 3, "bad-input": 3, "not-allowed": 1, "too-many-tries": 2,
        }  # fmt: skip
        assert {reason for event, reason in tally if event == "denied"} <= {*OF_GOOD_TOKENS}


@in_loop
async def test_an_address_that_cannot_be_told_opens_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        text = await token(h, "grant:any")
        assert (await call(h, text, "hostname=cloud&myip=192.0.2.1", seen="nonsense")).text == "911\n"
        assert not h.peer.grants


@in_loop
async def test_the_tokens_last_use_is_known_and_its_removal_closes(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        text = await token(h)
        await call(h, text)
        known = h.site.access.tokens.get(Actor.CLI, text.split("_")[1])
        assert (known.last_address, known.last_used_at) == (HERE4, int(h.now[0]))
        await h.site.access.tokens.remove(Actor.CLI, known.id)
        assert not h.peer.grants
        assert (await call(h, text)).status == 401


@in_loop
async def test_more_services_than_one_request_to_the_gate_holds(tmp_path: Path) -> None:
    services = {f"s{number}": replace(FILMS, name=f"s{number}") for number in range(150)}
    async with house(tmp_path, services=services, **PROXY) as h:
        text = await token(h)
        assert (await call(h, text)).text == f"good {HERE4}\n"
        assert (await call(h, text)).text == f"nochg {HERE4}\n"
        assert (await call(h, text, seen="203.0.113.8")).text == "good 203.0.113.8\n"
        assert opened(h) == {(name, "203.0.113.8") for name in services}
        assert all(len(asked["services"]) <= 64 for asked in h.peer.asked if asked["verb"] == "grant")
