"""A backup's file: what goes in comes out, and nothing else is taken."""

import gzip
import io
import json
import tarfile

import pytest

from safeip import archive
from safeip.archive import Archive, BadArchive

FILES = {archive.CONFIG: b"[portal]\n", archive.STATE: b"{}", archive.KEY: bytes(range(256))}


def packed(*members: tuple[tarfile.TarInfo, bytes], about: object = None) -> bytes:
    text = json.dumps({"version": 1, "made_at": "2026-11-21T09:30:00Z"} if about is None else about).encode()
    whole = io.BytesIO()
    with gzip.GzipFile(fileobj=whole, mode="wb") as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for info, data in (member("backup.json", text), *members):
            tar.addfile(info, io.BytesIO(data))
    return whole.getvalue()


def member(name: str, data: bytes = b"x", **other: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in other.items():
        setattr(info, key, value)
    return info, data


def test_what_goes_in_comes_out() -> None:
    found = Archive.of(FILES)
    assert Archive.unpack(found.pack()) == found


def test_tar_reads_it_too() -> None:
    with tarfile.open(fileobj=io.BytesIO(Archive.of(FILES).pack())) as tar:
        assert tar.getnames() == ["backup.json", *FILES]
        assert {info.mode for info in tar} == {0o600}


@pytest.mark.parametrize(
    ("members", "about", "why"),
    [
        ([member("../../etc/passwd")], None, "holds what no backup does: '../../etc/passwd'"),
        ([member("/etc/shadow")], None, "holds what no backup does"),
        ([member(archive.CONFIG, type=tarfile.SYMTYPE, linkname="/etc/shadow", size=0)], None, "holds what no backup does"),
        ([member(archive.CONFIG, type=tarfile.LNKTYPE, linkname=archive.STATE, size=0)], None, "holds what no backup does"),
        ([member(archive.CONFIG, type=tarfile.FIFOTYPE, size=0)], None, "holds what no backup does"),
        ([member(archive.CONFIG), member(archive.CONFIG)], None, "holds what no backup does"),
        ([], None, "lacks the configuration"),
        ([member(archive.CONFIG)], {"version": 2, "made_at": "x"}, "is of version 2, this SafeIP reads 1"),
        ([member(archive.CONFIG)], [], "is no backup of SafeIP's"),
        ([member(archive.CONFIG)], {"version": 1, "made_at": 5}, "lacks"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(members: list[tuple[tarfile.TarInfo, bytes]], about: object, why: str) -> None:
    with pytest.raises(BadArchive) as caught:
        Archive.unpack(packed(*members, about=about))
    assert why in str(caught.value)


def test_one_that_unpacks_to_gigabytes_is_refused_before_it_does() -> None:
    with pytest.raises(BadArchive) as caught:
        Archive.unpack(gzip.compress(bytes(200 << 20)))
    assert str(caught.value) == "holds more than 128 MiB"


def test_torn_or_changed_anywhere_it_is_whole_or_refused() -> None:
    whole = Archive.of(FILES).pack()
    expected = Archive.unpack(whole)
    for place in range(0, len(whole), 3):
        for broken in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            try:
                found = Archive.unpack(broken)
            except BadArchive:
                continue
            assert found == expected  # a byte of the gzip header that means nothing


def test_random_bytes_are_no_backup() -> None:
    for text in (b"", b"x", b"\x1f\x8b", gzip.compress(b""), gzip.compress(b"x" * 5000)):
        with pytest.raises(BadArchive):
            Archive.unpack(text)
