"""A portal taken over by an attacker: what it can do over the wire, and what it can't."""

import json
import random
import resource
import socket
import threading
from ipaddress import ip_address, ip_network

import pytest

from nft.gate import Gate
from nft.policy import Policy, PortRange, ServiceRule
from nft.serve import PortalGone, Server
from nft.wire import ProtocolError

HOUR = 3600
CLOUD = ServiceRule("cloud", (PortRange("tcp", 443, 443),), 12 * HOUR)
POLICY = Policy({"cloud": CLOUD}, (ip_network("10.0.0.0/8"),), max_grants=500)
NOTHING = {"service": None, "address": None, "holder": None}


class Attacker:
    """The portal's end of the wire, in the hands of an attacker; the gate serves it in a thread."""

    def __init__(self, network) -> None:
        gate_end, self.wire = socket.socketpair()
        self.wire.settimeout(20)
        self.end: BaseException | None = None
        self.gate = Gate(POLICY)
        self.gate.start()
        self.server = Server(self.gate, gate_end)
        self.thread = threading.Thread(target=self._serve, args=(network,))
        self.thread.start()
        self.lines = self.wire.makefile("rb")
        self.number = 0

    def _serve(self, network) -> None:
        with network.entered():
            try:
                self.server.run()
            except (ProtocolError, PortalGone) as end:
                self.end = end
            finally:
                self.server.close()

    def send(self, message: object) -> None:
        data = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
        self.wire.sendall(data)

    def ask(self, verb: str, **keys: object) -> dict:
        self.number += 1
        self.send({"id": self.number, "verb": verb, **keys})
        while True:
            answer = json.loads(self.lines.readline())
            if answer.get("id") == self.number and "part" not in answer:
                return answer

    def grant(self, **change: object) -> dict:
        keys = {"services": {"cloud": HOUR}, "address": "203.0.113.7", "holder": "link:aaaaaa", "note": ""}
        return self.ask("grant", **{**keys, "addresses": None, **change})

    def close(self) -> None:
        self.lines.close()
        self.wire.close()
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.gate.close()


@pytest.fixture
def attacker(network):
    made = Attacker(network)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"address": "0.0.0.0/0"}, "bad-address"),
        ({"address": "::/0"}, "bad-address"),
        ({"address": "2001:db8::/32"}, "bad-address"),
        ({"address": "203.0.113.0/24"}, "bad-address"),
        ({"address": "203.0.113.1-203.0.113.254"}, "bad-address"),
        ({"address": "203.0.113.7 }; flush ruleset; #"}, "bad-address"),
        ({"address": "0.0.0.0"}, "special-address"),
        ({"address": "10.0.0.1"}, "trusted-address"),
        ({"services": {"ports": HOUR}}, "unknown-service"),
        ({"services": {"banned": HOUR}}, "unknown-service"),
        ({"services": {"cloud4": HOUR}}, "unknown-service"),
        ({"services": {"../cloud": HOUR}}, "unknown-service"),
        ({"services": {"cloud": 0}}, "bad-duration"),
        ({"services": {"cloud": 12 * HOUR + 1}}, "bad-duration"),
        ({"services": {"cloud": (1 << 53) - 1}}, "bad-duration"),
        ({"holder": "root"}, "bad-holder"),
        ({"holder": 'link:a" }'}, "bad-holder"),
        ({"note": 'x" timeout 0s'}, "bad-note"),
        ({"note": "x\nadd rule inet safeip gate accept"}, "bad-note"),
    ],
)
def test_what_would_widen_anything_is_refused_and_changes_nothing(attacker, nft, change, code):
    before = nft("list ruleset")
    assert attacker.grant(**change)["error"]["code"] == code
    assert nft("list ruleset") == before
    assert "ok" in attacker.grant()  # and the honest go on


@pytest.mark.parametrize(
    "attack",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 100 + b"\n",
        b"{}\n",
        b'{"id":1,"verb":"exec","command":"nft flush ruleset"}\n',
        b'{"id":1,"verb":"load","script":"flush ruleset"}\n',
        b"[" * 65_000 + b"\n",
        b"x" * 70_000,
        b'{"id":1,"verb":"watch","verb":"watch","more":1}\n',
        json.dumps({"id": 1, "verb": "revoke", **NOTHING, "everything": False}).encode() + b"\n",
    ],
)
def test_whatever_is_not_one_of_five_verbs_ends_everything(attacker, nft, attack):
    attacker.grant()
    before = nft("list table inet safeip").split("expires")[0]
    attacker.send(attack)
    attacker.thread.join(20)
    assert isinstance(attacker.end, ProtocolError)
    assert nft("list table inet safeip").split("expires")[0] == before


def test_no_more_grants_than_the_ceiling_however_many_are_asked_for(attacker, nft):
    for number in range(700):
        attacker.number = number
        attacker.send(
            {"id": number, "verb": "grant", "services": {"cloud": HOUR}, "address": str(ip_address(0xCB000000 + number)),
             "holder": "cli", "note": "", "addresses": None}
        )  # fmt: skip
    codes = [json.loads(attacker.lines.readline()).get("error", {}).get("code") for _ in range(700)]
    assert codes.count(None) == 500
    assert codes.count("too-many") == 200
    assert nft("list set inet safeip cloud4").count("timeout") == 501  # 500 elements, and the set's own flag


def test_answers_that_nobody_takes_fill_no_memory(attacker):
    """The gate stops reading when its answers are not taken: the attacker waits, not the gate's memory."""
    for _ in range(500):
        attacker.grant(address=f"203.0.113.{random.randrange(1, 255)}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    attacker.wire.settimeout(0.5)
    question = json.dumps({"id": 1, "verb": "list", "of": "grants", **NOTHING}).encode() + b"\n"
    sent = 0
    with pytest.raises(TimeoutError):
        for _ in range(200_000):
            attacker.wire.sendall(question)
            sent += 1
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert sent < 20_000
    assert grown_mib < 16


def test_lists_that_are_asked_for_at_once_are_not_all_made_at_once(attacker, monkeypatch):
    attacker.grant()
    tell, waiting = attacker.gate.tell, []
    monkeypatch.setattr(attacker.gate, "tell", lambda request: (waiting.append(len(attacker.server._lists)), tell(request))[1])
    attacker.send(b"".join(json.dumps({"id": n, "verb": "list", "of": "held", **NOTHING}).encode() + b"\n" for n in range(1000)))
    answered = set()
    while len(answered) < 1000:
        answer = json.loads(attacker.lines.readline())
        if "part" not in answer:
            answered.add(answer["id"])
    assert max(waiting) < 64
    assert "ok" in attacker.grant()


def test_a_long_list_holds_up_no_grant(attacker):
    """Lists come in parts, from the book; whoever asks for a grant in the middle is answered in the middle."""
    for number in range(499):
        attacker.grant(address=str(ip_address(0xCB000000 + number)))
    attacker.send({"id": 9001, "verb": "list", "of": "grants", **NOTHING})
    first = json.loads(attacker.lines.readline())
    assert len(first["part"]) < 499
    together = [
        {"id": 9002, "verb": "list", "of": "grants", **NOTHING},
        {"id": 9003, "verb": "grant", "services": {"cloud": HOUR}, "address": "198.51.100.1", "holder": "cli",
         "note": "", "addresses": None},
    ]  # fmt: skip
    attacker.send(b"".join(json.dumps(request).encode() + b"\n" for request in together))
    order, listed = [], {9001: len(first["part"]), 9002: 0}
    while set(order) != {9001, 9002, 9003}:
        line = attacker.lines.readline()
        assert len(line) <= 64 * 1024
        answer = json.loads(line)
        if "part" in answer:
            listed[answer["id"]] += len(answer["part"])
        else:
            assert "ok" in answer
            order.append(answer["id"])
    assert order.index(9003) < order.index(9002)
    assert listed[9001] >= 499
    assert listed[9002] >= 499


def test_a_million_bytes_of_noise_widen_nothing(attacker, nft):
    """Requests with a few bytes changed are answered, refused, or end the gate; the rules never change."""
    rules = nft("list chain inet safeip gate") + nft("list chain inet safeip service-cloud")
    chance = random.Random(5)
    good = {"id": 1, "verb": "grant", "services": {"cloud": HOUR}, "address": "203.0.113.7", "holder": "cli", "note": "n",
            "addresses": None}  # fmt: skip
    attacker.wire.settimeout(5)
    try:
        for _ in range(3000):
            message = dict(good)
            key = chance.choice([key for key in good if key not in ("id", "verb")])
            message[key] = chance.choice(
                ["", "0.0.0.0", "::/0", None, {"cloud": chance.randint(-5, 10**6)}, chance.randint(0, 9), "x" * 80, "\x00"]
            )
            attacker.send(message)
            if attacker.end is not None:
                break
    except OSError:
        pass
    assert nft("list chain inet safeip gate") + nft("list chain inet safeip service-cloud") == rules
    assert " 0.0.0.0" not in nft("list set inet safeip cloud4")
