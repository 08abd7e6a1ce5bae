"""What papers tell people to do: the files of examples/, each with its program, and the way back in of safeip(8)."""

import re
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from at_once import none_reaches
from by_socket import close_all, grants

from lab.examples import EXAMPLES, example, replaced
from lab.gateway import GATEWAY4, GATEWAY6, Gateway
from lab.nginx import Nginx
from lab.process import wait_for
from lab.visitor import Family
from safeip.config import read_config

ROOT = Path(__file__).resolve().parents[2]
NAMES = dict.fromkeys(("open.example.org", "cloud.example.org"), (GATEWAY4, GATEWAY6))
PORTAL, CLOUD = "https://open.example.org:8443", "https://cloud.example.org/"
WITHIN_S = 30.0
FAMILIES: tuple[Family, ...] = (4, 6)
LIES = ("203.0.113.99", "203.0.113.99, 127.0.0.1", "2001:db8:bad::1, 203.0.113.99", "nonsense")


def test_the_readme_names_each_file_and_no_other() -> None:
    named = re.findall(r"^([a-z][\w.-]+)/?  ", (EXAMPLES / "README").read_text("utf-8"), re.MULTILINE)
    assert sorted([*named, "README"]) == sorted(path.name for path in EXAMPLES.iterdir())


@pytest.mark.parametrize("path", [*sorted(EXAMPLES.glob("*.toml")), EXAMPLES / "cloudflared" / "safeip.toml"], ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_a_configuration_is_good_and_the_kernel_takes_it(path: Path) -> None:
    assert read_config(str(path))
    command = ["unshare", "-n", ROOT / "bin" / "safeip", "--config", path, "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# nginx in front


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A gateway that is configured as the example for nginx has it, and a service for it."""
    config = tomllib.loads((EXAMPLES / "safeip-behind-nginx.toml").read_text("utf-8"))
    with Gateway(prefix="sipt", services=config["services"], portal=config["portal"]) as there:
        assert config.keys() == {"portal", "services"}, "then the rest has to be taken, too"
        there.serve(there.host, "program", 8888)
        for visitor in (there.visitor, there.second, there.stranger):
            visitor.names = {**visitor.names, **NAMES}
        yield there


@pytest.fixture(params=["$remote_addr", "$proxy_add_x_forwarded_for"])
def nginx(request: pytest.FixtureRequest, gateway: Gateway, tmp_path: Path) -> Iterator[Path]:
    """nginx with the example, and the same with the other way to pass the address on; its log."""
    certificate, key = gateway._certificate()
    site = example(
        "nginx.conf",
        ("/etc/letsencrypt/live/open.example.org/fullchain.pem", certificate),
        ("/etc/letsencrypt/live/open.example.org/privkey.pem", key),
        ("proxy_set_header X-Forwarded-For $remote_addr", f"proxy_set_header X-Forwarded-For {request.param}"),
        ("/var/www/html", str(tmp_path / "webroot")),
        # the lab's own service has this port
        ("listen 80;", "listen 81;"),
        ("listen [::]:80;", "listen [::]:81;"),
    )
    with Nginx(gateway.host, tmp_path, site):
        yield tmp_path
        close_all(gateway)


@pytest.mark.parametrize("family", [4, 6])
def test_whoever_opens_a_link_through_nginx_is_let_in_and_nobody_else(gateway: Gateway, nginx: Path, family: int) -> None:
    url = gateway.add_link("Mamie")
    assert url.startswith(f"{PORTAL}/l/")
    visitor, stranger = gateway.visitor, gateway.stranger
    assert not visitor.reaches(CLOUD, family=family)
    opened = visitor.open_link(url, family=family)
    assert opened.status == 200, opened.text
    granted = {4: visitor.ipv4, 6: "2001:db8:1::/64"}[family]
    assert [grant["address"] for grant in grants(gateway)] == [granted]
    assert visitor.reaches(CLOUD, family=family, timeout=WITHIN_S)
    assert "program" in visitor.fetch(CLOUD, family=family).text
    assert none_reaches((stranger, CLOUD, family), (visitor, CLOUD, {4: 6, 6: 4}[family]))


@pytest.mark.parametrize("lie", LIES)
def test_a_forged_header_is_not_believed(gateway: Gateway, nginx: Path, lie: str) -> None:
    url = gateway.add_link("Mamie")
    forged = {"X-Forwarded-For": lie, "X-Real-IP": lie, "CF-Connecting-IP": lie, "Forwarded": f"for={lie}"}
    page = gateway.visitor.fetch(url, headers=forged)
    opened = gateway.visitor.submit(page, headers=forged)
    assert opened.status == 200, opened.text
    assert [grant["address"] for grant in grants(gateway)] == [gateway.visitor.ipv4]
    assert gateway.visitor.reaches(CLOUD, timeout=WITHIN_S)


def test_nobody_gets_round_nginx(gateway: Gateway, nginx: Path) -> None:
    for family in (4, 6):
        with pytest.raises(OSError, match=r"refused|timed out"):
            gateway.stranger.fetch("http://home.test:8080/", family=family, timeout=1.0)


def test_nginx_keeps_the_portals_promises(gateway: Gateway, nginx: Path) -> None:
    """No link is logged, nothing with a secret in it is compressed, the portal's own headers arrive."""
    url = gateway.add_link("Mamie")
    page = gateway.visitor.fetch(url, headers={"Accept-Encoding": "gzip"})
    assert page.status == 200
    assert page.headers.get("Content-Encoding") is None
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    # a request that nginx itself refuses, and one that is too large
    assert gateway.visitor.fetch(url, "POST", fields={"x": "x" * 70_000}).status == 413
    gateway.visitor.fetch(CLOUD.replace("https", "http").rstrip("/") + ":81/")
    token = url.rpartition("/")[2]
    logs = {path.name: path.read_text("utf-8") for path in nginx.glob("*.log")}
    assert "GET / " in logs["access.log"], "then no log is kept at all"
    assert [name for name, text in logs.items() if token in text] == []


def test_certbots_webroot_is_served_to_everybody(gateway: Gateway, nginx: Path) -> None:
    place = nginx / "webroot" / ".well-known" / "acme-challenge"
    place.mkdir(parents=True)
    (place / "answer").write_text("good", "utf-8")
    for family in (4, 6):
        fetched = gateway.stranger.fetch("http://open.example.org:81/.well-known/acme-challenge/answer", family=family)
        assert (fetched.status, fetched.text) == (200, "good")


# firewalls beside


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("nftables*.conf")), ids=lambda path: path.name)
def test_nft_takes_a_ruleset(path: Path) -> None:
    subprocess.run(["unshare", "-n", "nft", "-c", "-f", path], check=True)
    assert path.read_text("utf-8").startswith("#!/usr/sbin/nft -f\n")


def test_an_ordinary_firewall_and_safeip_together_let_in_whoever_both_let_in() -> None:
    services = {
        "cloud": {"ports": ["tcp/443", "udp/443"]},
        "game": {"ports": ["tcp/25565-25570", "udp/30000-30010"]},
    }
    text = (EXAMPLES / "nftables-beside.conf").read_text("utf-8")
    for name, service in services.items():
        assert f"{name}, ports = {str(service['ports']).replace(chr(39), chr(34))}" in text
    rules = replaced(text, ('wan = "eth0"', 'wan = "wan"'), ('lan = "eth1"', 'lan = "lan"'), ("192.168.1.20", "10.9.0.10"))
    with Gateway(prefix="sipt", services=services) as gateway:
        gateway.nft("delete table inet lab")
        gateway.serve(gateway.host, "here", 443)
        gateway.serve(gateway.host, "unnamed", 8000)
        gateway.serve(gateway.server, "there", 25565)
        visitor, stranger = gateway.visitor, gateway.stranger
        here, there, unnamed = "http://home.test:443/", "http://home.test:25565/", "http://home.test:8000/"
        assert stranger.reaches(unnamed, timeout=WITHIN_S), "before there is a firewall"

        def as_it_should_be() -> None:
            for family in FAMILIES:
                assert visitor.reaches(here, family=family, timeout=WITHIN_S)
                assert stranger.fetch(f"{gateway.portal_scheme}://home.test:8443/", family=family).status == 200
            assert visitor.reaches(there, timeout=WITHIN_S)
            assert none_reaches((stranger, here, 4), (stranger, here, 6), (stranger, there, 4))
            assert none_reaches((visitor, unnamed, 4), (visitor, unnamed, 6)), "SafeIP opens nothing that the firewall drops"

        for service in services:
            for address in (visitor.ipv4, visitor.ipv6):
                gateway.cli("grant", service, address)
        gateway.nft(rules)
        as_it_should_be()
        # loaded again, it leaves SafeIP's table alone
        before = gateway.cli_json("status")["repairs"]
        gateway.nft(rules)
        as_it_should_be()
        assert gateway.cli_json("status")["repairs"] == before
        # the end of a grant cuts what the firewall has established
        with visitor.download(f"{here}endless") as download:
            wait_for("the download", lambda: download.received > 0, WITHIN_S)
            close_all(gateway)
            wait_for("the cut", lambda: time.monotonic() - download.last_at > 1, WITHIN_S)
        assert none_reaches((visitor, here, 4), (visitor, there, 4))
        # who is in the LAN gets out, and in
        gateway.serve(visitor.namespace, "outside", 80)
        gateway.server.connect(visitor.ipv4, 80).close()
        gateway.server.connect("10.9.0.1", 443).close()


# certbot


def test_certbot_takes_its_example(tmp_path: Path) -> None:
    """Read by the real program, which looks at each key and whether the hook is there, and asks nobody."""
    text = (EXAMPLES / "certbot.ini").read_text("utf-8")
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\n", "utf-8")
    hook.chmod(0o755)
    mine = tmp_path / "certbot.ini"

    def tried(text: str) -> subprocess.CompletedProcess[str]:
        mine.write_text(text, "utf-8")
        places = [f"--{kind}-dir={tmp_path}/{kind}" for kind in ("config", "work", "logs")]
        command = ["certbot", "certificates", "--config", mine, *places]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = replaced(text, ("/usr/share/safeip/certbot-deploy-hook", str(hook)))
    webroot = replaced(good, ("authenticator = standalone", ""), ("# authenticator", "authenticator"), ("# webroot-path", "webroot-path"))
    for one in (good, replaced(webroot, ("/var/www/html", str(tmp_path)))):
        done = tried(one)
        assert (done.returncode, "No certificates found" in done.stdout) == (0, True), done.stderr
    assert tried(f"{good}\nno-such-key = 1\n").returncode != 0, "then it does not look"
    assert tried(text.replace("/usr/share/safeip/", "/nowhere/")).returncode != 0


# the man page


def test_what_the_man_page_says_to_whoever_is_locked_out_opens_everything() -> None:
    """With neither daemon nor configuration; and closed.nft is gone, so that it stays open over a boot."""
    page = (ROOT / "man" / "safeip.8").read_text("utf-8")
    block = re.search(r"^\.Bd -literal -compact\n(.*?)^\.Ed$", page.partition(".Sh WHEN YOU ARE LOCKED OUT")[2], re.MULTILINE | re.DOTALL)
    assert block
    stop, *rest = block[1].splitlines()
    assert stop == "systemctl disable --now safeip safeip-closed"
    with Gateway(prefix="sipt") as gateway:
        assert not gateway.stranger.reaches("http://home.test/")
        gateway.kill()
        gateway.config.unlink()
        assert list(gateway.state_dir.rglob("closed.nft"))
        assert not gateway.stranger.reaches("http://home.test/"), "closed stays closed"
        gateway.host.run("sh", "-e", "-c", replaced("\n".join(rest), ("/var/lib/safeip", str(gateway.state_dir))))
        assert gateway.stranger.reaches("http://home.test/", timeout=WITHIN_S)
        assert not list(gateway.state_dir.rglob("closed.nft"))
