"""Every verb of the command line against the real daemon and the real kernel."""

import io
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lab.gateway import ROOT, Gateway
from lab.kernel import has_table
from lab.process import wait_for

PROGRAM = str(ROOT / "bin" / "safeip")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
GRANT = {
    "service": str, "address": str, "holder": str, "note": str, "expires_at": str, "remaining_s": int,
    "packets": int, "bytes": int, "shared": (str, type(None)), "reached": bool,
}  # fmt: skip
LINK = {
    "id": str, "label": str, "owner": (str, type(None)), "services": list, "for": (str, type(None)), "uses": (int, type(None)), "used": int,
    "addresses": (int, type(None)), "pin": bool, "paused": bool, "to": (str, type(None)), "created_at": str,
    "expires_at": (str, type(None)), "last_used_at": (str, type(None)), "state": str,
}  # fmt: skip


@pytest.fixture(scope="module")
def home() -> Iterator[Gateway]:
    with Gateway(prefix="sipc") as gateway:
        yield gateway


@pytest.fixture
def gateway(home: Gateway) -> Iterator[Gateway]:
    """The module's gateway, with nothing open, no link and no ban when a test begins and when it ends."""
    yield home
    for link in home.cli_json("link", "list"):
        home.cli("link", "remove", link["id"])
    if opened := held(home):
        home.cli("revoke", "--all")
        for address in opened.get("banned4", []):
            home.cli("unban", address)
        assert held(home) == {}


def held(gateway: Gateway) -> dict[str, list[str]]:
    """What the kernel has in the sets of services and bans, without those that are empty."""
    sets = {name: found for name, found in gateway.sets().items() if name.startswith(("cloud", "films", "game", "banned"))}
    return {name: sorted(str(element.value) for element in found) for name, found in sets.items() if found}


def keys(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, kind in expected.items():
        assert isinstance(found[name], kind), name
        assert kind is not int or not isinstance(found[name], bool), name


def refused(gateway: Gateway, *words: str, stdin: str | None = None) -> str:
    """The one line that a refusal says; nothing was printed and nothing opened."""
    before = held(gateway)
    done = gateway.cli(*words, check=False, input=stdin)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("safeip: ")
    assert done.stderr.count("\n") == 1
    assert held(gateway) == before
    return done.stderr.removeprefix("safeip: ").rstrip("\n")


def moment(text: str) -> datetime:
    assert MOMENT.fullmatch(text)
    return datetime.fromisoformat(text)


# grants


def test_a_grant_is_in_the_kernel_and_listed_as_the_design_says(gateway: Gateway) -> None:
    address = gateway.visitor.ipv4
    assert not gateway.visitor.reaches("http://home.test/")
    said = gateway.cli("grant", "cloud", address, "--for", "2h", "--note", "Télé du salon").stdout
    assert re.fullmatch(rf"cloud is open for {address} until \d{{4}}-\d\d-\d\d \d\d:\d\d \(in 2 h\)\n", said)
    assert gateway.visitor.reaches("http://home.test/")

    (element,) = gateway.elements("cloud4")
    assert (element.value, element.timeout_s) == (address, 7200)
    (grant,) = gateway.cli_json("grants")
    keys(grant, GRANT)
    assert (grant["service"], grant["address"], grant["holder"], grant["note"]) == (
        "cloud", address, "cli", "Télé du salon",
    )  # fmt: skip
    assert 7140 <= grant["remaining_s"] < 7200
    end = moment(grant["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=7140) < end <= timedelta(seconds=7201)
    assert grant["packets"] > 0
    assert grant["bytes"] > grant["packets"]

    heading, row = gateway.cli("grants").stdout.splitlines()
    assert heading.split() == ["SERVICE", "ADDRESS", "UNTIL", "HOLDER", "TRAFFIC", "SHARED", "NOTE"]
    assert re.fullmatch(
        rf"cloud +{re.escape(address)} +[-\d]+ [:\d]+ \(in (2 h|1 h 59 min)\) +cli +[.\d]+ k?B +Télé du salon", row
    )
    assert heading.index("NOTE") == row.index("Télé")


def test_an_ipv6_address_stands_for_its_prefix(gateway: Gateway) -> None:
    gateway.cli("grant", "films", gateway.visitor.ipv6)
    (grant,) = gateway.cli_json("grants")
    assert (grant["service"], grant["address"]) == ("films", "2001:db8:1::/64")
    (element,) = gateway.elements("films6")
    assert (element.value, element.timeout_s) == ("2001:db8:1::", 7200), "the service's default_duration"
    assert gateway.visitor.reaches("http://home.test:8096/", family=6)
    gateway.cli("revoke", "2001:db8:1::99")
    assert gateway.elements("films6") == []


def test_a_renewal_lengthens_and_never_shortens(gateway: Gateway) -> None:
    address = gateway.visitor.ipv4
    gateway.cli("grant", "cloud", address, "--for", "1h")
    gateway.cli("grant", "cloud", address, "--for", "3h")
    gateway.cli("grant", "cloud", address, "--for", "10s")
    (grant,) = gateway.cli_json("grants")
    assert grant["remaining_s"] > 10700


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing", "192.0.2.10"], "'nothing' is not a service; choose from cloud, films, game"),
        (["cloud", "192.0.2.256"], "'192.0.2.256' is not an address"),
        (["cloud", "192.0.2.0/24"], "192.0.2.0/24"),
        (["cloud", "2001:db8::/32"], "2001:db8::/32"),
        (["cloud", "fe80::1%eth0"], "fe80::1%eth0"),
        (["cloud", "\udcff"], "is not an address"),
        (["cloud", "127.0.0.1"], "127.0.0.1"),
        (["cloud", "10.9.0.10"], "trusted network, which is never closed"),
        (["cloud", "::ffff:10.9.0.10"], "trusted network, which is never closed"),
        (["cloud", "0.0.0.0"], "0.0.0.0"),
        (["cloud", "224.0.0.1"], "224.0.0.1"),
        (["cloud", "192.0.2.10", "--for", "31d"], "maximum of cloud"),
        (["cloud", "192.0.2.10", "--note", 'a"b'], "note: "),
        (["cloud", "192.0.2.10", "--note", "x" * 65], "note: "),
        (["cloud", "192.0.2.10", "--note", "a\nb"], "note: "),
        (["cloud", "192.0.2.10", "--note", "\udcff"], "note: "),
    ],
)
def test_a_grant_that_may_not_be_is_refused_in_one_line(gateway: Gateway, words: list[str], said: str) -> None:
    assert said in refused(gateway, "grant", *words)


def test_revoking_by_address_service_holder_and_all(gateway: Gateway) -> None:
    first, second = gateway.visitor.ipv4, gateway.second.ipv4

    def fill() -> None:
        for service, address in (("cloud", first), ("films", first), ("cloud", second)):
            gateway.cli("grant", service, address)

    def left() -> set[tuple[str, str]]:
        return {(grant["service"], grant["address"]) for grant in gateway.cli_json("grants")}

    fill()
    assert gateway.cli("revoke", "--service", "cloud", first).stdout == "1 grant revoked\n"
    assert left() == {("films", first), ("cloud", second)}
    fill()
    assert gateway.cli("revoke", first).stdout == "2 grants revoked\n"
    assert left() == {("cloud", second)}
    assert gateway.cli("revoke", first).stdout == "Nothing was open.\n"
    assert gateway.cli("revoke", "--holder", "link:aaaaaa").stdout == "Nothing was open.\n"
    fill()
    assert gateway.cli("revoke", "--holder", "cli").stdout == "3 grants revoked\n"
    fill()
    assert gateway.cli("revoke", "--all").stdout == "3 grants revoked\n"
    assert gateway.cli_json("grants") == []
    assert gateway.cli("grants").stdout == "Nobody is in.\n"
    assert "'nothing' is not a service" in refused(gateway, "revoke", "--service", "nothing", first)
    assert "is not an address" in refused(gateway, "revoke", "everybody")
    assert "is not an address" in refused(gateway, "revoke", "\udcff")


# links


def test_a_link_opens_and_every_verb_on_it_does_what_it_says(gateway: Gateway) -> None:
    added = gateway.cli("link", "add", "Mamie", "--service", "cloud", "--for", "2h")
    assert re.fullmatch(r"https://home\.test:8443/l/[a-z2-7]{6}-[a-z2-7]{32}\n", added.stdout)
    assert added.stderr == ""
    url = added.stdout.strip()

    (link,) = gateway.cli_json("link", "list")
    keys(link, LINK)
    link_id = link["id"]
    assert url.split("/l/")[1].startswith(f"{link_id}-")
    assert (link["label"], link["services"], link["for"], link["state"]) == ("Mamie", ["cloud"], "2h", "open")
    assert (link["uses"], link["used"], link["addresses"], link["pin"], link["to"]) == (None, 0, None, False, None)
    moment(link["created_at"])
    shown = gateway.cli_json("link", "show", link_id)
    keys(shown, {**LINK, "url": str, "wants_pin": list})
    assert shown["url"] == url

    gateway.visitor.open_link(url)
    (grant,) = gateway.cli_json("grants")
    assert (grant["holder"], grant["note"], grant["address"]) == (f"link:{link_id}", "Mamie", gateway.visitor.ipv4)
    assert gateway.cli_json("link", "show", link_id)["used"] == 1
    heading, row = gateway.cli("link", "list").stdout.splitlines()
    assert heading.split("  ")[0] == "ID"
    assert row.split()[:5] == [link_id, "Mamie", "cloud", "open", "1"]
    text = gateway.cli("link", "show", link_id).stdout
    assert f"url:       {url}\n" in text
    assert "used:      1\n" in text

    assert gateway.cli("link", "pause", link_id).stdout == f"{link_id} is paused\n"
    assert gateway.elements("cloud4") == []
    assert gateway.cli_json("link", "list")[0]["state"] == "paused"
    assert gateway.visitor.fetch(url).status == 410
    assert gateway.cli("link", "resume", link_id).stdout == f"{link_id} is resumed\n"
    assert gateway.visitor.fetch(url).status == 200

    rotated = gateway.cli("link", "rotate", link_id).stdout
    assert re.fullmatch(rf"https://home\.test:8443/l/{link_id}-[a-z2-7]{{32}}\n", rotated)
    assert rotated.strip() != url
    assert gateway.visitor.fetch(url).status == 404
    gateway.visitor.open_link(rotated.strip())
    assert len(gateway.elements("cloud4")) == 1

    assert gateway.cli("link", "remove", link_id).stdout == f"{link_id} is removed\n"
    assert gateway.elements("cloud4") == []
    assert gateway.visitor.fetch(rotated.strip()).status == 404
    assert gateway.cli_json("link", "list") == []
    assert gateway.cli("link", "list").stdout == "No links.\n"
    for verb in ("show", "pause", "resume", "rotate", "remove"):
        assert refused(gateway, "link", verb, link_id) == f"there is no link '{link_id}'"


def test_a_link_takes_every_option(gateway: Gateway) -> None:
    done = gateway.cli(
        "link", "add", "Chez l'oncle", "--service", "cloud", "--service", "films", "--for", "90m", "--expires", "30d",
        "--uses", "3", "--addresses", "2", "--pin", "-", "--to", "https://cloud.example.org/x",
        input="2468\nnot this line\n",
    )  # fmt: skip
    (link,) = gateway.cli_json("link", "list")
    assert (link["label"], link["services"], link["for"]) == ("Chez l'oncle", ["cloud", "films"], "90m")
    assert (link["uses"], link["addresses"], link["pin"]) == (3, 2, True)
    assert link["to"] == "https://cloud.example.org/x"
    lasts = moment(link["expires_at"]) - moment(link["created_at"])
    assert abs(lasts - timedelta(days=30)) <= timedelta(seconds=1)
    url = done.stdout.strip()
    assert gateway.visitor.open_link(url, pin="1357").status == 403
    assert gateway.visitor.open_link(url, pin="2468").status == 200
    assert {grant["service"] for grant in gateway.cli_json("grants")} == {"cloud", "films"}
    assert gateway.cli("link", "list").stdout.splitlines()[1].count("1 of 3") == 1
    assert "2468" not in gateway.cli("link", "show", link["id"]).stdout


def test_a_qr_code_comes_after_the_url(gateway: Gateway) -> None:
    import segno

    printed = gateway.cli("link", "add", "Phone", "--service", "cloud", "--qr").stdout
    url, empty, code = printed.split("\n", 2)
    drawn = io.StringIO()
    segno.make(url, micro=False).terminal(drawn, compact=True)
    assert empty == ""
    assert code == drawn.getvalue()
    shown = gateway.cli("link", "show", gateway.cli_json("link", "list")[0]["id"], "--qr").stdout
    assert shown.endswith(code)


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (["x" * 65], None, "label: "),
        (['a"b'], None, "label: "),
        (["Mamie", "--service", "nothing"], None, "'nothing' is not a service"),
        (["Mamie", "--for", "31d"], None, "maximum of cloud"),
        (["Mamie", "--pin", "-"], "", "pin: "),
        (["Mamie", "--pin", "12"], None, "pin: "),
        (["Mamie", "--to", "javascript:alert(1)"], None, "to: "),
        (["Mamie", "--to", "https://a:b@example.org/"], None, "to: "),
    ],
)
def test_a_link_that_may_not_be_is_refused_in_one_line(
    gateway: Gateway, words: list[str], stdin: str | None, said: str
) -> None:
    assert said in refused(gateway, "link", "add", *words, "--service", "cloud", stdin=stdin)
    assert gateway.cli_json("link", "list") == []


# who knocks, who is banned


def test_who_knocks_is_blocked_and_who_is_banned_reaches_not_even_the_portal(gateway: Gateway) -> None:
    stranger = gateway.stranger
    assert not stranger.reaches("http://home.test/")
    rows = [row for row in gateway.cli_json("blocked") if row["address"] == stranger.ipv4]
    (row,) = [row for row in rows if row["port"] == 80]
    keys(row, {"address": str, "protocol": str, "port": int, "packets": int, "bytes": int, "last_at": str})
    assert row["protocol"] == "tcp"
    assert row["packets"] >= 1
    assert abs(datetime.now(UTC) - moment(row["last_at"])) < timedelta(seconds=30)
    lines = gateway.cli("blocked").stdout.splitlines()
    assert lines[0].split() == ["ADDRESS", "PORT", "PACKETS", "BYTES", "LAST"]
    assert any(re.fullmatch(rf"{stranger.ipv4} +tcp/80 +\d+ +\d+ B +\d+ s ago", line) for line in lines[1:])

    portal = "https://home.test:8443/"
    assert stranger.reaches(portal)
    assert gateway.cli("ban", stranger.ipv4, "--for", "1h").stdout == f"{stranger.ipv4} is banned for 1h\n"
    assert not stranger.reaches(portal)
    (ban,) = gateway.cli_json("bans")
    keys(ban, {"address": str, "expires_at": str, "remaining_s": int, "packets": int})
    assert ban["address"] == stranger.ipv4
    assert 3540 <= ban["remaining_s"] < 3600
    assert ban["packets"] >= 1
    moment(ban["expires_at"])
    heading, line = gateway.cli("bans").stdout.splitlines()
    assert heading.split() == ["ADDRESS", "UNTIL", "PACKETS"]
    assert re.fullmatch(rf"{stranger.ipv4} +[-\d]+ [:\d]+ \(in (1 h|59 min \d+ s|59 min)\) +\d+", line)

    assert gateway.cli("unban", stranger.ipv4).stdout == f"{stranger.ipv4} is not banned\n"
    assert stranger.reaches(portal)
    assert gateway.cli("bans").stdout == "Nobody is banned.\n"
    gateway.cli("ban", stranger.ipv4)
    assert gateway.cli_json("bans")[0]["remaining_s"] > 86340, "a day where nothing else is said"
    assert "trusted" in refused(gateway, "ban", "10.9.0.10")
    assert "is not an address" in refused(gateway, "ban", "nobody")
    assert "is not an address" in refused(gateway, "unban", "nobody")


# status, history


def test_status_says_what_runs_and_what_is_protected(gateway: Gateway) -> None:
    gateway.cli("grant", "cloud", gateway.visitor.ipv4)
    gateway.cli("link", "add", "Mamie", "--service", "cloud")
    assert not gateway.stranger.reaches("http://home.test/")
    status = gateway.cli_json("status")
    assert (status["mode"], status["table"], status["url"]) == ("table", "inet safeip", "https://home.test:8443")
    assert (status["grants"], status["links"]) == (1, {"all": 1, "open": 1})
    assert status["closed_packets"] >= 1
    assert status["closed_bytes"] >= 40
    assert isinstance(status["repairs"], int)
    assert {name: (service["grants"], service["ports"]) for name, service in status["services"].items()} == {
        "cloud": (1, ["tcp/80"]),
        "films": (0, ["tcp/8096"]),
        "game": (0, ["tcp/25565-25570", "udp/25565-25570"]),
    }
    text = gateway.cli("status").stdout
    assert "portal:  https://home.test:8443\n" in text
    assert "grants:  1\n" in text
    assert "links:   1, of which open: 1\n" in text
    assert re.search(r"(?m)^blocked: \d+ packets?, \d+(\.\d)? k?B$", text)
    assert re.search(r"(?m)^cloud +Cloud +tcp/80 +1$", text)
    assert re.search(r"(?m)^game +Game +tcp/25565-25570, udp/25565-25570 +0$", text)


def test_history_tells_what_happened_and_nothing_secret(gateway: Gateway) -> None:
    url = gateway.add_link("Mamie", ("cloud",), "--pin", "2468")
    gateway.visitor.open_link(url, pin="1357")
    gateway.visitor.open_link(url, pin="2468")
    entries = gateway.cli_json("history", "--last", "3")
    assert [entry["event"] for entry in entries] == ["link-added", "link-refused", "link-opened"]
    assert all(moment(entry["at"]) for entry in entries)
    assert [entry["outcome"] for entry in entries] == ["allowed", "refused", "allowed"]
    opened = entries[2]
    assert (opened["holder"].partition(":")[0], opened["address"]) == ("link", gateway.visitor.ipv4)
    assert opened["services"] == ["cloud"]
    lines = gateway.cli("history", "--last", "3").stdout.splitlines()
    assert len(lines) == 3
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  link-added ", lines[0])
    assert f"refused ({entries[1]['reason']})" in lines[1]
    everything = gateway.cli("history", "--json").stdout + gateway.cli("history").stdout
    for secret in (url, url.split("/l/")[1], "2468", "1357"):
        assert secret not in everything


@pytest.mark.parametrize("style", [[], ["--json"]])
def test_following_history_shows_what_happens_and_ends_cleanly_on_an_interrupt(
    gateway: Gateway, tmp_path: Path, style: list[str]
) -> None:
    gateway.cli("grant", "cloud", gateway.second.ipv4)
    out, err = tmp_path / "out", tmp_path / "err"
    with gateway.host.entered(), out.open("wb") as stdout, err.open("wb") as stderr:
        # env: the tests themselves may run where interrupts are ignored, as in a shell's background
        command = ["env", "--default-signal=INT", PROGRAM, "--config", gateway.config, "history", "--follow"]
        follower = subprocess.Popen([*command, "--last", "1", *style], stdout=stdout, stderr=stderr)
    try:
        wait_for("what was", lambda: len(out.read_text("utf-8").splitlines()) == 1)
        gateway.cli("grant", "films", gateway.visitor.ipv4, "--note", "now")
        wait_for("what happens", lambda: len(out.read_text("utf-8").splitlines()) == 2)
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 130
    finally:
        follower.kill()
        follower.wait(10)
    was, now = out.read_text("utf-8").splitlines()
    assert err.read_text("utf-8") == ""
    assert gateway.second.ipv4 in was
    if style:
        entry = json.loads(now)
        assert (entry["event"], entry["services"], entry["note"]) == ("granted", ["films"], "now")
    else:
        assert now.split()[2:] == ["granted", gateway.visitor.ipv4, "now", "films", "by", "cli"]


# check, down, and a daemon that goes away


def test_check_reports_the_configuration_and_what_the_kernel_says(gateway: Gateway) -> None:
    good = gateway.cli("check")
    assert good.stdout == f"{gateway.config} is good: 3 services, and the kernel takes the ruleset\n"
    custom = gateway.directory / "custom.nft"

    def chains() -> str:
        return gateway.host.run("nft", "-t", "-s", "list", "ruleset").stdout

    before = chains()
    custom.write_text("nonsense\n", "utf-8")
    try:
        line = refused(gateway, "check")
    finally:
        custom.unlink()
    assert line.startswith(f"the kernel refuses the ruleset of {gateway.config} and {custom}: ")
    assert chains() == before


def test_check_without_the_capability_says_that_the_ruleset_was_not_tried(gateway: Gateway) -> None:
    done = gateway.host.run(
        "setpriv", "--bounding-set", "-net_admin", PROGRAM, "--config", str(gateway.config), "check", check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"safeip: {gateway.config} is good, but the ruleset could not be tried: ")
    assert done.stderr.count("\n") == 1


def test_the_gate_that_the_command_line_started_holds_nothing_heavy(gateway: Gateway) -> None:
    maps = Path(f"/proc/{gateway.gate_pid()}/maps").read_text("ascii")
    assert "libnftables" in maps
    for heavy in ("libssl", "_ssl", "_asyncio", "argon2", "_http"):
        assert heavy not in maps, heavy


def test_down_waits_for_the_daemons_end_and_takes_the_table_away(tmp_path: Path) -> None:
    with Gateway(prefix="sipc") as gateway:
        gateway.cli("grant", "cloud", gateway.visitor.ipv4)
        assert "a daemon runs already" in refused(gateway, "down")
        out, err = tmp_path / "out", tmp_path / "err"
        with gateway.host.entered(), out.open("wb") as stdout, err.open("wb") as stderr:
            follower = subprocess.Popen(
                [PROGRAM, "--config", gateway.config, "history", "--follow"], stdout=stdout, stderr=stderr
            )
        wait_for("the follower", lambda: "granted" in out.read_text("utf-8"))
        assert gateway.stop() == 0
        assert follower.wait(10) == 1
        assert err.read_text("utf-8") == "safeip: the daemon has ended\n"

        assert has_table(gateway.host, "safeip"), "closed stays closed"
        assert not gateway.stranger.reaches("http://home.test/")
        silence = f"no daemon listens at {gateway.runtime}/control.sock: start it with 'safeip --config FILE run'"
        assert refused(gateway, "grants") == silence
        done = gateway.cli("down")
        assert (done.stdout, done.stderr) == ("", "")
        assert not has_table(gateway.host, "safeip")
        assert gateway.stranger.reaches("http://home.test/")
        gateway.cli("down")  # a second time: nothing left to take away


def test_the_program_runs_from_anywhere_and_heeds_no_environment(gateway: Gateway, tmp_path: Path) -> None:
    trap = tmp_path / "argparse.py"
    trap.write_text("raise SystemExit('imported from the environment')\n", "utf-8")
    link = tmp_path / "safeip"
    link.symlink_to(PROGRAM)
    done = gateway.host.run(
        "env", "-C", str(tmp_path), f"PYTHONPATH={tmp_path}", "PATH=/nonexistent",
        str(link), "--config", str(gateway.config), "grants",
    )  # fmt: skip
    assert done.stdout == "Nobody is in.\n"
