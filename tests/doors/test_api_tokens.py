"""Tokens at the API of the real daemon: what each scope does to the kernel's sets, and what it does not."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from by_socket import close_all, forget_tokens_and_bans, grants

from lab.gateway import ROOT, Gateway
from lab.process import wait_for
from lab.visitor import Family, Visitor
from safeip import sockets
from safeip.control import Control
from safeip.privileges import Account

SCOPES = ("read", "grant:self", "grant:any", "links", "admin")
# Each scope, then each limited to the service films. What a request is answered, and which sets of cloud and films hold what then:
# v the visitor's address, o another one, m the grant that the command line made. {v} asks from its own address.
TABLE = """
                               read     self     any      links    admin    read/f   self/f   any/f    links/f  admin/f
PUT cloud/self                 403 m    201 mv   201 mv   403 m    201 mv   403 m    404 m    404 m    403 m    404 m
PUT films/self                 403 m    201 mV   201 mV   403 m    201 mV   403 m    201 mV   201 mV   403 m    201 mV
PUT cloud/{v}                  403 m    201 mv   201 mv   403 m    201 mv   403 m    404 m    404 m    403 m    404 m
PUT cloud/{o}                  403 m    403 m    201 mo   403 m    201 mo   403 m    404 m    404 m    403 m    404 m
PUT films/{o}                  403 m    403 m    201 mO   403 m    201 mO   403 m    403 m    201 mO   403 m    201 mO
DELETE cloud/{m}               403 m    200 m    200 m    403 m    200 -    403 m    404 m    404 m    403 m    404 m
DELETE ?service=cloud          403 m    200 m    200 m    403 m    200 -    403 m    422 m    422 m    403 m    422 m
DELETE ?address={m}            403 m    200 m    200 m    403 m    200 -    403 m    200 m    200 m    403 m    200 m
DELETE ?holder=cli             403 m    200 m    200 m    403 m    200 -    403 m    200 m    200 m    403 m    200 m
DELETE ?all=true               403 m    403 m    403 m    403 m    200 -    403 m    403 m    403 m    403 m    403 m
"""
OTHER, MADE = "203.0.113.99", "203.0.113.50"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    visitor: Visitor, method: str, path: str, token: str = "", body: Any = None, family: Family = 4, **headers: str
) -> Answer:
    connection = http.client.HTTPConnection("home.test:8443")
    connection.sock = visitor.connect("https://home.test:8443/", family)
    given = {key.replace("_", "-"): text for key, text in headers.items()}
    given |= {"Authorization": f"Bearer {token}"} if token else {}
    given |= {"Content-Type": "application/json"} if body is not None else {}
    connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), given)
    reply = connection.getresponse()
    answer = Answer(reply.status, reply.headers, reply.read())
    connection.close()
    return answer


@pytest.fixture(scope="module")
def home() -> Iterator[Gateway]:
    with Gateway(prefix="sipa") as gateway:
        yield gateway


@pytest.fixture
def gateway(home: Gateway) -> Iterator[Gateway]:
    yield home
    close_all(home)
    forget_tokens_and_bans(home)


def opened(gateway: Gateway) -> str:
    """What the kernel holds, as the table has it; capitals for films."""
    letters = {MADE: "m", gateway.visitor.ipv4: "v", OTHER: "o"}
    cloud = [letters[element.value] for element in gateway.elements("cloud4")]
    films = [letters[element.value].upper() for element in gateway.elements("films4")]
    return "".join(sorted([*cloud, *films], key="movMOV".index)) or "-"


def test_each_scope_changes_in_the_kernel_what_it_may(gateway: Gateway) -> None:
    tokens = [gateway.add_token(scope, scope) for scope in SCOPES] + [gateway.add_token(scope, scope, service="films") for scope in SCOPES]
    root = Control(str(gateway.runtime / "control.sock"))  # the command line's own way, without its start
    heading, *lines = TABLE.strip().splitlines()
    wrong = []
    for line in lines:
        method, place, *cells = line.split()
        place = place.format(v=gateway.visitor.ipv4, o=OTHER, m=MADE)
        wanted = list(zip(cells[::2], cells[1::2], strict=True))
        assert len(wanted) == len(tokens)
        for column, token, (status, left) in zip(heading.split(), tokens, wanted, strict=True):
            root.ask("DELETE", "/grants", query={"all": "true"})
            root.ask("PUT", f"/grants/cloud/{MADE}")
            answer = ask(gateway.visitor, method, f"/grants{'' if place.startswith('?') else '/'}{place}", token)
            found = f"{answer.status} {opened(gateway)}"
            if found != f"{status} {left}":
                wrong.append(f"{method} {place}, {column}: {found}, not {status} {left}: {answer.body.decode()}")
    assert not wrong, "\n".join(["", *wrong])


def test_self_opens_the_way_and_a_removed_token_closes_it(gateway: Gateway) -> None:
    token = gateway.add_token("Phone", "grant:self", service="cloud", args=("--for", "3h"))
    visitor, second = gateway.visitor, gateway.second
    for family, set_name, value, address in (
        (4, "cloud4", visitor.ipv4, visitor.ipv4), (6, "cloud6", "2001:db8:1::", "2001:db8:1::/64"),
    ):  # fmt: skip
        assert not visitor.reaches("http://home.test/", family=family)
        made = ask(visitor, "PUT", "/grants/cloud/self", token, family=family)
        assert made.status == 201
        assert made.json["address"] == address
        assert 10790 < made.json["remaining_s"] <= 10800, "the token's own time"
        (element,) = gateway.elements(set_name)
        assert (element.value, element.timeout_s) == (value, 10800)
        assert visitor.reaches("http://home.test/", family=family, timeout=30)
        again = ask(visitor, "PUT", "/grants/cloud/self", token, {"for": "10m", "note": "Télé"}, family=family)
        assert (again.status, again.json["remaining_s"] > 10700) == (200, True), "never shorter"
    assert not second.reaches("http://home.test/")
    (found,) = [one for one in gateway.cli_json("token", "list") if one["label"] == "Phone"]
    assert found["last_address"] in {visitor.ipv4, "2001:db8:1::/64"}
    assert {grant["holder"] for grant in grants(gateway)} == {f"token:{found['id']}"}
    gateway.cli("token", "remove", found["id"])
    assert gateway.elements("cloud4") == gateway.elements("cloud6") == []
    assert not visitor.reaches("http://home.test/")
    refused = ask(visitor, "PUT", "/grants/cloud/self", token)
    assert (refused.status, refused.json["type"]) == (401, "/api/v1/problems/bad-token")
    assert gateway.elements("cloud4") == []


def test_what_comes_before_the_address_that_asks_is_its_own_invention(gateway: Gateway) -> None:
    token = gateway.add_token("Phone", "grant:self")
    for name in ("X_Forwarded_For", "Forwarded", "X_Real_IP"):
        assert ask(gateway.visitor, "PUT", "/grants/cloud/self", token, **{name: OTHER}).json["address"] == gateway.visitor.ipv4
        assert ask(gateway.visitor, "PUT", f"/grants/cloud/{OTHER}", token, **{name: OTHER}).status == 403
    assert {element.value for element in gateway.elements("cloud4")} == {gateway.visitor.ipv4}


def test_from_home_nothing_needs_opening(gateway: Gateway) -> None:
    token = gateway.add_token("Phone", "admin")
    said = ask(gateway.local, "PUT", "/grants/cloud/self", token)
    assert (said.status, said.json["type"]) == (422, "/api/v1/problems/trusted-address")
    assert "nothing needs opening" in said.json["detail"]
    for address, kind in (("10.9.0.10", "trusted-address"), ("fd00:9::10", "trusted-address"), ("224.0.0.1", "special-address")):
        refused = ask(gateway.visitor, "PUT", f"/grants/cloud/{address}", token)
        assert (refused.status, refused.json["type"].rpartition("/")[2]) == (422, kind)
    assert gateway.elements("cloud4") == gateway.elements("cloud6") == []


def test_a_link_that_a_token_made_opens_and_closes(gateway: Gateway) -> None:
    token = gateway.add_token("Bot", "links", service="cloud")
    made = ask(gateway.visitor, "POST", "/links", token, {"label": "Mamie", "services": ["cloud"]})
    assert made.status == 201
    assert gateway.second.open_link(made.json["url"]).status == 200
    assert [element.value for element in gateway.elements("cloud4")] == [gateway.second.ipv4]
    paused = ask(gateway.visitor, "POST", f"/links/{made.json['id']}/pause", token)
    assert (paused.status, paused.json["state"]) == (200, "paused")
    assert gateway.elements("cloud4") == []
    assert ask(gateway.visitor, "POST", "/links", token, {"label": "x", "services": ["films"]}).status == 422
    assert ask(gateway.visitor, "DELETE", f"/links/{made.json['id']}", token).status == 200
    assert gateway.cli_json("link", "list") == []


def test_a_ban_by_a_token_is_the_kernels(gateway: Gateway) -> None:
    admin, films = gateway.add_token("House", "admin"), gateway.add_token("Films", "admin", service="films")
    stranger = gateway.stranger
    assert ask(stranger, "GET", "/openapi.json").status == 200
    assert ask(gateway.visitor, "POST", "/bans", films, {"address": stranger.ipv4}).status == 403
    assert gateway.elements("banned4") == []
    assert ask(gateway.visitor, "POST", "/bans", admin, {"address": stranger.ipv4, "for": "1h"}).status == 201
    assert [element.value for element in gateway.elements("banned4")] == [stranger.ipv4]
    assert not stranger.reaches("https://home.test:8443/api/v1/openapi.json")
    assert ask(gateway.visitor, "DELETE", f"/bans?address={stranger.ipv4}", admin).status == 200
    assert stranger.reaches("https://home.test:8443/api/v1/openapi.json", timeout=30)


def test_guessing_tokens_bans_in_the_kernel(gateway: Gateway) -> None:
    stranger = gateway.stranger
    for letter in "abcdefghij":
        assert ask(stranger, "GET", "/token", f"safeip_aaaaaa_{letter * 26}").status == 401
    wait_for("the ban", lambda: [element.value for element in gateway.elements("banned4")] == [stranger.ipv4], 30)
    assert not stranger.reaches("https://home.test:8443/healthz")


@pytest.mark.skipif(os.getuid() != 0, reason="gives files away")
def test_the_control_socket_is_a_readers_too_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    for reader, mode, group in ((None, 0o600, os.getegid()), (Account("safeip-teller", 12345, 12346), 0o660, 12346)):
        sockets.control(str(path), reader).close()
        assert (path.stat().st_mode & 0o777, path.stat().st_uid, path.stat().st_gid) == (mode, os.getuid(), group)
    assert os.getegid() != 12346


AS_READER = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[3]))
for line in ("GET /api/v1/grants", "GET /api/v1/status", "GET /api/v1/history?last=1", "PUT /api/v1/grants/cloud/203.0.113.9", "GET /api/v1/links"):
    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
    s.sendall(f"{line} HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(s.recv(64).decode().split()[1])
"""


@pytest.mark.skipif(os.getuid() != 0, reason="gives the daemon a list of users of its own")
def test_the_tellers_user_may_read_and_change_nothing(tmp_path: Path) -> None:
    users = tmp_path / "passwd"
    others = [line for line in Path("/etc/passwd").read_text().splitlines(keepends=True) if not line.startswith("safeip-teller:")]
    users.write_text("".join([*others, "safeip-teller:x:54400:54401::/:/usr/sbin/nologin\n"]))
    with Gateway(prefix="sipz", start=False) as gateway:
        run = f"mount --bind {users} /etc/passwd && exec {ROOT}/bin/safeip --config {gateway.config} run"
        gateway.daemon = gateway.host.start("unshare", "--mount", "sh", "-c", run, log=gateway.log)
        wait_for("the daemon", gateway.healthy, 30)
        door = gateway.runtime / "control.sock"
        assert (door.stat().st_mode & 0o777, door.stat().st_gid) == (0o660, 54401)

        def answers(uid: int, gid: int) -> list[str]:
            command = [sys.executable, "-I", "-c", AS_READER, str(door), str(gid), str(uid)]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()

        assert answers(54400, 54401) == ["200", "200", "200", "403", "403"]
        assert answers(54402, 54401) == ["403"] * 5, "the group alone is nobody"
        assert answers(54402, 54402) == [], "who is not of the group does not even reach it"
        assert gateway.elements("cloud4") == []
