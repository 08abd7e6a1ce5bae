"""Static files: the same to every browser, shorter on the way where that helps, and never anything but files."""

import gzip
import re
import struct
from pathlib import Path

import pytest
from portal_house import ROOT, House, house, in_loop

WEIGHTS = {"style.css": 15_000, "icon.svg": 700, "icon-180.png": 3_000, "icon-192.png": 3_000}


async def style(h: House) -> str:
    return (await h.get("/")).text.partition('rel="stylesheet" href="')[2].partition('"')[0]


@pytest.mark.parametrize(
    ("asked", "packed"),
    [
        ("gzip, deflate, br, zstd", True),
        ("deflate;q=0.5, GZIP;q=0.1", True),
        ("br;q=1.0,gzip ; q=1", True),
        ("gzip", True),
        ("gzip;q=0.001", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
        ("br, x-gzip-not", False),
        ("*", False),
        ("identity", False),
        ("", False),
        ("gzip;q=0" * 900, False),
    ],
)
@in_loop
async def test_gzip_where_it_is_asked_for(tmp_path: Path, asked: str, *, packed: bool) -> None:
    async with house(tmp_path) as h:
        answer = await h.get(await style(h), Accept_Encoding=asked)
        whole = (await h.get(await style(h))).body
        assert (answer.header("Content-Encoding") == "gzip") == packed
        assert (gzip.decompress(answer.body) if packed else answer.body) == whole
        assert answer.header("Vary") == "Accept-Encoding"
        assert answer.header("Content-Type") == "text/css; charset=utf-8"
        assert answer.header("Content-Length") == str(len(answer.body))
        assert not packed or len(answer.body) * 3 < len(whole)


@in_loop
async def test_they_come_without_what_is_for_their_readers(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        for file in (*(ROOT / "static").glob("*.js"), ROOT / "static/style.css"):
            written = file.read_text("utf-8")
            served = (await h.get(h.site.pages.assets.path(file.name))).text
            assert len(served) < len(written)
            assert "/*" not in served
            assert "*/" not in served
            assert [line for line in served.splitlines() if line != line.strip() or not line or line.startswith("//")] == []
            # Nothing else is missing
            lines = re.sub(r"/\*.*?\*/", "", written, flags=re.DOTALL).splitlines()
            assert served.splitlines() == [line.strip() for line in lines if line.strip() and not line.strip().startswith("//")]


def test_no_text_goes_on_over_the_end_of_a_line_or_holds_a_comment() -> None:
    """There, both would be part of it."""
    for file in (ROOT / "static").glob("*.js"):
        for line in file.read_text("utf-8").splitlines():
            assert line.count("`") % 2 == 0, (file.name, line)
            assert "/*" not in line.partition("//")[0], (file.name, line)
    quoted = re.findall(r'"[^"]*"', (ROOT / "static/style.css").read_text("utf-8"))
    assert [text for text in quoted if "\n" in text or "*" in text] == []


@in_loop
async def test_no_page_is_ever_compressed(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        for path in ("/", "/sign-in", await h.link(), "/healthz", "/nowhere", "/l/none"):
            for method in ("GET", "HEAD"):
                answer = await h.get(path, method, Accept_Encoding="gzip, deflate, br")
                assert answer.header("Content-Encoding") == ""
        opened = await h.open(await h.link(), Accept_Encoding="gzip")
        assert (opened.status, opened.header("Content-Encoding")) == (200, "")


@in_loop
async def test_pictures_for_home_screens(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        for size, name in ((180, "icon-180"), (192, "icon-192"), (512, "icon-512"), (512, "icon-mask")):
            path = h.site.pages.assets.path(f"{name}.png")
            answer = await h.get(path, Accept_Encoding="gzip")
            assert answer.header("Content-Type") == "image/png"
            assert "immutable" in answer.header("Cache-Control")
            whole = (await h.get(path)).body
            assert len(answer.body) <= len(whole) < 6_000
            assert struct.unpack(">II", whole[16:24]) == (size, size)
            assert (await h.get(path, "HEAD")).header("Content-Length") == str(len(whole))
            assert (await h.get(path.replace(name, "style"))).status == 404


def test_what_is_loaded_with_a_page_is_small() -> None:
    for name, most in WEIGHTS.items():
        assert (ROOT / "static" / name).stat().st_size < most, name


def test_the_mark_is_drawn_the_same_everywhere() -> None:
    """The mark within a page, whose door moves, has the lines and colours of the icon."""
    icon, page = ((ROOT / file).read_text() for file in ("static/icon.svg", "templates/mark.html"))
    for pattern in (r' d="([^"]+)"', r'fill="([^"]+)"', r'transform="([^"]+)"', r'viewBox="([^"]+)"'):
        assert re.findall(pattern, icon) == re.findall(pattern, page)
