"""Who knocked, as the admin's pages show it: a picture with words beside it, and those who sent the most."""

import re
import time
from html import unescape
from pathlib import Path

from portal_house import House, house, in_loop, knock

from access.gate import Blocked
from portal.knocks import by_address, top_ports, top_sources

HOUR_S = 3600


async def closed(h: House, packets: int, after_s: float = 60) -> None:
    """So many packets are blocked, and somebody looks `after_s` after the last look."""
    h.now[0] += after_s
    h.peer.status["closed_packets"] += packets
    await h.site.access.knocks.look()


def bars(text: str) -> list[tuple[int, int]]:
    """Of the picture: which hour, and how high."""
    found = re.findall(r'<rect x="(\d+)" y="(\d+)" width="8" height="(\d+)"/>', text)
    assert all(int(y) + int(height) == 60 for _x, y, height in found)
    return [(int(x) // 10, int(height)) for x, _y, height in found]


def words(text: str, part: str) -> list[str]:
    """The text of each `part` of a page."""
    found = re.findall(rf"<{part}\b.*?</{part}>", text, re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]*>", " ", one)).split()) for one in found]


@in_loop
async def test_packets_by_hour_are_a_picture_and_a_table(tmp_path: Path) -> None:
    async with house(tmp_path, session_idle_s=10**6) as h:
        yves = await h.signed_in("yves", admin=True)
        h.now[0] = h.now[0] // HOUR_S * HOUR_S + HOUR_S
        for path in ("/admin", "/admin/blocked"):
            assert "<figure" not in (await yves.get(path)).text
        await closed(h, 1, 50 * 60)
        await closed(h, 0, 40 * 60)
        await closed(h, 600, 40 * 60)
        h.peer.status["closed_packets"] += 60
        for path in ("/admin", "/admin/blocked"):
            page = (await yves.get(path)).text
            assert bars(page) == [(21, 2), (23, 60)], "the fewest can be seen, and what came just now"
            assert 'role="img" aria-label="661 packets were blocked in the last day"' in page
            (table,) = [text for text in words(page, "table") if text.startswith("Hour from")]
            assert re.fullmatch(r"Hour from Packets \w+ at .* 660 \w+ at .* 1", table)
        h.peer.status["closed_packets"] = 3
        h.now[0] += 40 * HOUR_S
        assert "<rect" not in words((await yves.get("/admin")).text, "main")[0]


@in_loop
async def test_who_and_which_port_sent_the_most(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        h.peer.blocked = [
            knock("192.0.2.1", 443, packets=5, last_ms=1),
            knock("192.0.2.1", 22, packets=6, last_ms=2),
            knock("2001:db8:1::/64", 443, packets=10, last_ms=3),
            *(knock(f"198.51.100.{number}", 443, last_ms=9) for number in range(20)),
            {**knock("192.0.2.2", 25565, packets=2), "protocol": "udp"},
        ]
        page = await yves.get("/admin/blocked")
        sources, ports = words(page.text, "ol")
        assert sources.startswith(
            "192.0.2.1 11 packets 2001:db8:1::/64 10 packets 192.0.2.2 2 packets 198.51"
        )
        assert len(re.findall("packet", sources)) == 5
        assert ports == (
            "tcp/443 Nextcloud 35 packets, 22 addresses tcp/22 6 packets, 1 address "
            "udp/25565 Game 2 packets, 1 address"
        )
        assert 'href="/admin/blocked?q=2001%3Adb8%3A1%3A%3A/64"' in page.text
        only = await yves.get("/admin/blocked?q=tcp%2F22")
        assert words(only.text, "ol") == []
        assert len(words(only.text, "tr")) == 2
        h.peer.blocked = h.peer.blocked[:2]
        assert words((await yves.get("/admin/blocked")).text, "ol") == [], "of one there is no most"


@in_loop
async def test_where_another_ruleset_closes_nobody_is_seen(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        yves = await h.signed_in("yves", admin=True)
        h.peer.blocked = []
        assert "Nobody knocked in the last day" in (await yves.get("/admin/blocked")).text
        h.peer.status["mode"] = "sets"
        assert "does not see who knocks" in (await yves.get("/admin/blocked")).text


def test_sixty_thousand_who_knocked() -> None:
    """Sorting them holds up everybody else: it takes 0.2 s, and a busy machine may take ten times that."""
    rows = [Blocked(f"192.0.{number}", "tcp", number % 7, 1, 60, number) for number in range(60_000)]
    begin = time.process_time()
    sources = by_address(rows)
    assert [source.address for source in top_sources(sources, 2)] == ["192.0.0", "192.0.1"]
    assert [port.addresses for port in top_ports(rows, {}, 5)] == [8572] * 3 + [8571] * 2
    assert time.process_time() - begin < 2
