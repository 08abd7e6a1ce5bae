"""What pages and programs are told of shared addresses."""

import re
from dataclasses import replace
from html import unescape
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from portal_house import SERVICES, Browser, House, house, in_loop

PROXY: dict[str, Any] = {"trusted_proxies": (ip_network("127.0.0.0/8"),)}
CAREFUL: dict[str, Any] = {**PROXY, "services": {**SERVICES, "cloud": replace(SERVICES["cloud"], shared_max_duration_s=3600)}}
HERE, CARRIER = "203.0.113.7", "100.64.0.9"
PROVIDER = "Your provider gives it to many customers at once, and all of them get in too."
OTHERS = "Others have opened the way from it too: whoever uses it gets in."
SHORTER = "That is why the time is shorter here."


def let_in(h: House, address: str, holder: str, service: str = "game", *, others: bool = False) -> None:
    grant = {"service": service, "address": address, "holder": holder, "note": "", "remaining_ms": 60_000, "packets": 0, "bytes": 0}
    h.peer.grants[service, address, holder] = {**grant, "others": others}


@pytest.mark.parametrize(("settings", "shorter"), [(PROXY, False), (CAREFUL, True)])
def test_who_signs_in_is_told(tmp_path: Path, settings: dict[str, Any], shorter: bool) -> None:
    async def main(directory: Path) -> None:
        async with house(directory, **settings) as h:
            await h.person("mamie", services=("cloud", "game"))
            mamie = Browser(h, X_Forwarded_For=HERE)
            await mamie.sign_in("mamie")
            for address, said in ((HERE, None), (CARRIER, PROVIDER), ("203.0.113.8", OTHERS), ("203.0.113.9", OTHERS)):
                let_in(h, "203.0.113.8", "link:aaaaaa")
                let_in(h, "203.0.113.9", "person:mamie", others=True)
                mamie.headers["X_Forwarded_For"] = address
                page = (await mamie.get("/me")).text
                assert f"Your address is {address}." in page
                assert [text for text in (PROVIDER, OTHERS) if text in page] == ([said] if said else [])
                assert (SHORTER in page) == (shorter and said is not None)
                assert ("in a café all its guests" in page) == (said is None)

    in_loop(main)(tmp_path)


@pytest.mark.parametrize(("uses", "how"), [(None, "renewed"), (2, "still")])
def test_a_page_that_keeps_a_link_open_is_told_who_shares_its_new_address(tmp_path: Path, uses: int | None, how: str) -> None:
    async def main(directory: Path) -> None:
        async with house(directory, **CAREFUL) as h:
            path = await h.link(uses=uses)
            page = await h.get(path, X_Forwarded_For=HERE)
            opened = await h.post(path, f"form={page.form_token}".encode(), Cookie=page.cookie, X_Forwarded_For=HERE)
            token = unescape(re.findall(r'data-form="([^"]+)"', opened.text)[0])
            for address in (CARRIER, CARRIER):
                answer = await h.post(f"{path}/stay", f"form={token}".encode(), Cookie=page.cookie, X_Forwarded_For=address)
                for key in h.peer.grants:
                    h.peer.grants[key]["remaining_ms"] = 90_000
            assert answer.json["how"] == how
            assert answer.json["here"].strip() == f"Your address is {CARRIER}. {PROVIDER} {SHORTER}"

    in_loop(main)(tmp_path)


@in_loop
async def test_a_trusted_visitor_shares_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, **PROXY) as h:
        await h.person("mamie")
        mamie = Browser(h, X_Forwarded_For="10.0.0.7")
        await mamie.sign_in("mamie")
        assert "get in too" not in (await mamie.get("/me")).text
        assert all(one["verb"] != "list" or one["address"] is None for one in h.peer.asked)


@in_loop
async def test_the_list_of_who_is_in_and_programs_tag_it(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        let_in(h, CARRIER, "link:aaaaaa")
        let_in(h, HERE, "link:bbbbbb", others=True)
        let_in(h, "198.51.100.4", "cli")
        ann = await h.signed_in("ann", admin=True)
        rows = {row.partition('"')[0]: row for row in (await ann.get("/admin")).text.split('data-address="')[1:]}
        assert '<span class="tag">a carrier' in rows[CARRIER]
        assert '<span class="tag">shared</span>' in rows[HERE]
        assert 'class="tag">shared' not in rows["198.51.100.4"]
        told = {grant["address"]: grant["shared"] for grant in (await h.api("GET", "grants")).json}
        assert told == {CARRIER: "carrier", HERE: "others", "198.51.100.4": None}


@in_loop
async def test_a_link_says_what_it_lacks_a_pin_for(tmp_path: Path) -> None:
    services = {**SERVICES, "game": replace(SERVICES["game"], shared_pin=True)}
    async with house(tmp_path, services=services) as h:
        for body, wants in (
            ({"label": "Jean", "services": ["cloud"]}, []),
            ({"label": "Jean", "services": ["cloud", "game"]}, ["game"]),
            ({"label": "Jean", "services": ["game"], "pin": "4711"}, []),
        ):
            made = (await h.api("POST", "links", body)).json
            assert made["wants_pin"] == wants
            assert (await h.api("GET", f"links/{made['id']}")).json["wants_pin"] == wants
