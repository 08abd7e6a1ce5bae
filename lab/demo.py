"""The main job on real parts, step by step: `./dev demo [--once]`."""

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from types import FrameType
from typing import Any

from lab.config import SERVICES
from lab.gateway import GATEWAY4, Gateway
from lab.kernel import has_table
from lab.process import LabError, wait_for
from lab.relay import Relay
from lab.show import Show, hold, milliseconds
from lab.visitor import Family, Visitor

CLOUD = str(SERVICES["cloud"]["url"])
FILMS = str(SERVICES["films"]["url"])
PREVIEWS = 100
SHORT_S = 5
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# counts what passed SafeIP and reached the service: one packet too many would be seen
COUNT = """
table inet lab {
    counter arrived { }
    chain arrived {
        type filter hook input priority 0;
        ip saddr 192.0.2.10 tcp dport 80 counter name arrived
    }
}
"""


class Demo:
    """The steps, in the order of the story; each returns the figure to show and raises where it did not hold."""

    def __init__(self, gateway: Gateway, show: Show) -> None:
        self.gateway = gateway
        self.show = show
        self.url = ""

    def steps(self) -> Sequence[tuple[str, Callable[[], str]]]:
        """What is said, and what is done."""
        return (
            ("Without SafeIP a stranger reaches both services", self.unprotected),
            ("SafeIP starts: a gate, and a portal without any right", self.start),
            ("Now visitor and stranger are shut out of both services", self.shut_out),
            ("The admin makes a link for Mamie", self.make_link),
            ("Fetching the link, as chat previews do, opens nothing", self.preview),
            ("Mamie opens her link, and the service answers", self.open),
            ("The service forwarded to the LAN (DNAT) answers as well", self.forwarded),
            ("The kernel holds the grant and counts it down", self.element),
            ("The stranger is still shut out, and was noted", self.stranger),
            ("A second device opens the link over IPv6", self.second_device),
            ("A revocation cuts a running download", self.revoke),
            (f"A grant of {SHORT_S} s: the daemon is killed, the kernel ends it in time", self.expire),
            ("The daemon starts again and finds what is open", self.adopt),
            ("nft flush ruleset: table and grants come back by themselves", self.flush),
        )

    def unprotected(self) -> str:
        begin = time.monotonic()
        for url in (CLOUD, FILMS):
            hold(self.gateway.stranger.reaches(url), f"{url} does not answer")
        return milliseconds(time.monotonic() - begin)

    def start(self) -> str:
        took = self.gateway.start()
        portal = _status(self.gateway.portal_pid())
        gate = _status(self.gateway.gate_pid())
        hold(portal["Uid"].split()[0] != "0", "the portal runs as root")
        for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
            hold(int(portal[name], 16) == 0, f"the portal holds capabilities: {name} {portal[name]}")
        hold(portal["NoNewPrivs"] == "1", "the portal could gain rights")
        self.show.note(f"gate: process {gate['Pid']}; portal: process {portal['Pid']}, user {portal['Uid'].split()[0]}")
        return f"ready in {milliseconds(took)}"

    def shut_out(self) -> str:
        who = (self.gateway.visitor, self.gateway.stranger)
        self._nobody(who, (CLOUD, FILMS))
        return "no answer, IPv4 and IPv6"

    def make_link(self) -> str:
        self.url = self.gateway.add_link("Mamie", ("cloud", "films"), "--for", "2h")
        hold(self.url.startswith("https://home.test:8443/l/"), f"this is no link: {self.url}")
        self.show.note(f"safeip link add Mamie --service cloud --service films --for 2h  ->  {self.url}")
        return "a URL, and nothing else"

    def preview(self) -> str:
        begin = time.monotonic()
        agent = {"User-Agent": "a chat's preview"}
        for turn in range(PREVIEWS):
            answer = self.gateway.stranger.fetch(self.url, "HEAD" if turn % 2 else "GET", headers=agent)
            hold(answer.status == 200, f"the link's page answers {answer.status}")
        took = time.monotonic() - begin
        for name in ("cloud4", "cloud6", "films4", "films6"):
            hold(self.gateway.elements(name) == [], f"{name} is not empty")
        return f"{PREVIEWS} times in {milliseconds(took)}, sets empty"

    def open(self) -> str:
        visitor = self.gateway.visitor
        page = visitor.fetch(self.url)
        click = time.monotonic()
        answer = visitor.submit(page)
        posted = time.monotonic()
        hold(answer.status == 200, f"the link answers {answer.status}")
        first = visitor.fetch(answer.next_url or CLOUD)
        hold(first.status == 200 and visitor.ipv4 in first.text, f"the service answers {first.status}")
        return f"{milliseconds(posted - click + first.first_byte_s)} from click to first byte"

    def forwarded(self) -> str:
        answer = self.gateway.visitor.fetch(FILMS)
        hold("films" in answer.text and self.gateway.visitor.ipv4 in answer.text, f"it answers {answer.text!r}")
        return milliseconds(answer.first_byte_s)

    def element(self) -> str:
        first = self._left(self.gateway.visitor.ipv4, "cloud4")
        wait_for("the countdown", lambda: self._left(self.gateway.visitor.ipv4, "cloud4") < first, 10.0, 0.1)
        element = self.gateway.elements("cloud4")[0]
        hold(element.timeout_s == 7200, f"the timeout is {element.timeout_s} s")
        hold(self._id() in element.comment, f"the comment is {element.comment!r}")
        self.show.note(f"set cloud4: {element.value} timeout {element.timeout_s}s expires {element.expires_s}s "
                       f'comment "{element.comment}"')  # fmt: skip
        return f"{element.expires_s} of {element.timeout_s} s left"

    def stranger(self) -> str:
        self._nobody((self.gateway.stranger,), (CLOUD, FILMS))
        packets = sum(
            entry["packets"]
            for entry in _entries(self.gateway.cli_json("blocked"), "blocked")
            if entry["address"] == self.gateway.stranger.ipv4
        )
        hold(packets > 0, "safeip blocked does not know the stranger")
        return f"{packets} packets from {self.gateway.stranger.ipv4} blocked"

    def second_device(self) -> str:
        device = self.gateway.second
        hold(not device.reaches(CLOUD, family=6, timeout=0.5), "it was let in before it opened the link")
        answer = device.open_link(self.url, family=6)
        hold(answer.status == 200, f"the link answers {answer.status}")
        hold(device.reaches(CLOUD, family=6), "the service does not answer")
        hold(not device.reaches(CLOUD, timeout=0.5), "it was let in over IPv4, which it did not ask for")
        values = [element.value for element in self.gateway.elements("cloud6")]
        hold(values == ["2001:db8:2::"], f"cloud6 holds {values}")
        return "its /64 is in: 2001:db8:2::/64"

    def revoke(self) -> str:
        visitor = self.gateway.visitor
        self.gateway.nft(COUNT)
        with visitor.download(CLOUD + "endless") as download:
            wait_for("the download", lambda: download.received > 300_000)
            self.gateway.cli("revoke", "--service", "cloud", visitor.ipv4)
            before = self._arrived()
            answered = time.monotonic()
            wait_for("the download's end", lambda: time.monotonic() - download.last_at > 1.0, 15.0)
            late = self._arrived() - before
            received, end = download.received, max(0.0, download.last_at - answered)
        hold(late == 0, f"{late} packets were accepted after the answer")
        hold(not visitor.reaches(CLOUD, timeout=0.5), "a new connection gets through")
        hold(visitor.reaches(FILMS), "the other service was cut too")
        self.show.note(f"{received / 1e6:.1f} MB had come; what was on its way arrived {milliseconds(end)} after the answer")
        return "0 packets accepted after the answer"

    def expire(self) -> str:
        visitor = self.gateway.visitor
        begin = time.monotonic()
        self.gateway.cli("grant", "cloud", visitor.ipv4, "--for", f"{SHORT_S}s")
        granted = time.monotonic()
        self.gateway.kill()
        last = 0.0
        while visitor.reaches(CLOUD, timeout=1.0):
            last = time.monotonic()
            hold(last - granted < SHORT_S + 1, "the kernel did not end it")
            time.sleep(0.02)
        hold(last, "the grant did not open the service")
        # the grant was made somewhere between begin and granted
        hold(last - begin > SHORT_S - 0.5, f"it ended after {last - begin:.1f} s")
        hold(visitor.ipv4 not in [element.value for element in self.gateway.elements("cloud4")], "it is still listed")
        hold(visitor.reaches(FILMS), "what was still open closed as well")
        return f"last answer {last - granted:.2f} s after the command"

    def adopt(self) -> str:
        kernel = self._open()
        took = self.gateway.start()
        listed = _entries(self.gateway.cli_json("grants"), "grants")
        told = {(entry["service"], entry["address"].removesuffix("/64")) for entry in listed}
        hold(kernel, "nothing was open")
        hold(told == kernel, f"safeip grants says {told}, the kernel {kernel}")
        hold(self._open() == kernel, "the start changed what is open")
        return f"{len(kernel)} grants, ready in {milliseconds(took)}"

    def flush(self) -> str:
        before, kernel = self._left("2001:db8:2::", "cloud6"), self._open()
        begin = time.monotonic()
        self.gateway.nft("flush ruleset")
        wait_for("the table", lambda: has_table(self.gateway.host), 30.0, 0.001)
        took = time.monotonic() - begin
        wait_for("the grants", lambda: self._open() == kernel, 30.0)
        self.gateway.admin_rules()  # the flush took the admin's own table too, and that is the admin's to load
        after = self._left("2001:db8:2::", "cloud6")
        hold(before - 15 < after <= before, f"{before} s were left, now it is {after} s")
        hold(self.gateway.second.reaches(CLOUD, family=6), "the second device is shut out")
        self._nobody((self.gateway.stranger,), (CLOUD, FILMS))
        return f"within {milliseconds(took)}, {len(kernel)} grants"

    def _nobody(self, visitors: Sequence[Visitor], urls: Sequence[str]) -> None:
        """Nobody of them reaches any of these, all tried at once over both families."""
        families: tuple[Family, ...] = (4, 6)
        tries = [(visitor, url, family) for visitor in visitors for url in urls for family in families]
        with ThreadPoolExecutor(len(tries)) as pool:
            reached = list(pool.map(lambda one: one[0].reaches(one[1], family=one[2]), tries))
        for (visitor, url, _), was in zip(tries, reached, strict=True):
            hold(not was, f"{url} answers {visitor.ipv4}")

    def _id(self) -> str:
        return self.url.rsplit("/", 1)[-1].split("-")[0]

    def _left(self, value: str, name: str) -> int:
        for element in self.gateway.elements(name):
            if element.value == value:
                return element.expires_s
        raise LabError(f"{name} does not hold {value}")

    def _open(self) -> set[tuple[str, str]]:
        """Service and address of all that the kernel holds open."""
        return {
            (name[:-1], element.value)
            for name, elements in self.gateway.sets().items()
            for element in elements
            if name[:-1] in SERVICES
        }

    def _arrived(self) -> int:
        listed = self.gateway.host.run("nft", "-j", "list", "counter", "inet", "lab", "arrived").stdout
        return next(int(entry["counter"]["packets"]) for entry in json.loads(listed)["nftables"] if "counter" in entry)


def _entries(listed: Any, name: str) -> list[dict[str, Any]]:  # noqa: ANN401 (JSON has no narrower type)
    """The entries of a listing, which is a list or holds one under its name."""
    found = listed.get(name, []) if isinstance(listed, dict) else listed
    return list(found) if isinstance(found, list) else []


def _status(pid: int) -> dict[str, str]:
    """/proc/PID/status by name."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def stay(gateway: Gateway, show: Show, stop: threading.Event) -> None:
    """Leave the portal running behind a relay, with a link to click on this machine, until `stop` is set."""
    with ExitStack() as stack:
        visitor = gateway.visitor
        portal = stack.enter_context(closing(Relay(visitor.namespace, GATEWAY4, gateway.portal_port)))
        service = stack.enter_context(closing(Relay(visitor.namespace, GATEWAY4, 80)))
        cloud = {**SERVICES["cloud"], "url": f"http://127.0.0.1:{service.port}/"}
        gateway.stop()
        gateway.configure(
            portal={"url": f"http://127.0.0.1:{portal.port}", "tls": "off"}, services={**SERVICES, "cloud": cloud}
        )
        gateway.start()
        gateway.cli("revoke", "--all")
        url = gateway.add_link("You", ("cloud",), "--for", "15m")
        show.say()
        show.say("Now you. Your browser on this machine is the visitor; two ports of 127.0.0.1 lead into the namespace.")
        show.say(f"  the service, closed until you open the link:  {show.paint(f'http://127.0.0.1:{service.port}/', '1')}")
        show.say(f"  the portal:                                   {show.paint(f'http://127.0.0.1:{portal.port}/', '1')}")
        show.say(f"  your link:  {show.paint(url, '1;4')}")
        show.say(f"Look inside:  ip netns exec {gateway.host.name} nft list table inet safeip")
        show.say("Ctrl-C ends it and removes everything.")
        was = False
        while not stop.wait(0.5):
            now = any(element.value == visitor.ipv4 for element in gateway.elements("cloud4"))
            if now != was:
                show.say("  the service is open for you" if now else "  the service is closed for you")
            was = now


def main() -> int:
    """Run the demo. 0 where every step held."""
    parser = argparse.ArgumentParser(prog="./dev demo", description="The main job on real parts, step by step.")
    parser.add_argument("--once", action="store_true", help="end after the last step; exit 0 only if every step held")
    once: bool = parser.parse_args().once
    stop, staying = threading.Event(), threading.Event()

    def interrupt(number: int, _: FrameType | None) -> None:
        # a second signal must not disturb the cleaning up
        for ignored in ENDS:
            signal.signal(ignored, signal.SIG_IGN)
        stop.set()
        if not staying.is_set():
            raise SystemExit(128 + number)

    for ends in ENDS:
        signal.signal(ends, interrupt)
    show = Show()
    show.say("SafeIP: a closed service opens for one visitor, and closes again.")
    show.say("All of it happens in network namespaces; this host's firewall and interfaces are not touched.")
    show.say()
    begin = time.monotonic()
    with ExitStack() as stack:
        made: list[Gateway] = []

        def build() -> str:
            made.append(stack.enter_context(Gateway(start=False)))
            return milliseconds(time.monotonic() - begin)

        if show.step("A home is built: gateway, LAN server, and an Internet before it", build):
            demo = Demo(made[0], show)
            for text, action in demo.steps():
                # without a daemon nothing that follows has a meaning
                if not show.step(text, action) and action == demo.start:
                    break
        show.say()
        held = f"{show.steps - show.missed} of {show.steps} steps held, in {milliseconds(time.monotonic() - begin)}."
        show.say(held if not show.missed else show.paint(held, "1;31"))
        if not once and not show.missed:
            staying.set()  # from here on a signal is the ordinary end
            stay(made[0], show, stop)
    return 1 if show.missed else 0


if __name__ == "__main__":
    sys.exit(main())
