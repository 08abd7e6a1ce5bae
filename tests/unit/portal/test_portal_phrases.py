"""Numbers, moments and waits as each language writes them, and what a language costs."""

import time
import tracemalloc
from typing import Any

import pytest
from portal_house import ROOT

from portal.catalogue import Catalogue, read_catalogue
from portal.moments import Moment, Span, moment, patience
from portal.pages import Pages, _CompiledOnce, _templates
from portal.phrases import phrases

DAY = 86400
AT = Moment("2027-03-01T09:05:00Z", 100, 0, 1, 2, None, 9, 5, "CET")


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages(ROOT, secure=True)


def said(pages: Pages, language: str, macro: str, *values: Any) -> str:
    words = pages._templates[language]["home.html"].globals
    return str(words[macro](*values)).partition(">")[2].removesuffix("</time>")


@pytest.mark.parametrize(
    ("language", "number", "packets"),
    [
        ("en", "1,234,567", "12,345 packets"),
        ("fr", "1\u202f234\u202f567", "12\u202f345 paquets"),
        ("de", "1.234.567", "12.345 Pakete"),
        ("es", "1.234.567", "12.345 paquetes"),
    ],
)
def test_digits_are_grouped(pages: Pages, language: str, number: str, packets: str) -> None:
    words: Any = pages._templates[language]["home.html"].globals
    assert [words["number"](1234567), words["number"](7), words["number"](0)] == [number, "7", "0"]
    assert words["ngettext"]("%(num)d packet", "%(num)d packets", 12345) == packets


@pytest.mark.parametrize(
    ("language", "dated", "later", "today", "yesterday"),
    [
        ("en", "Monday 1 March at 09:05 CET", "Monday 1 March 2028 at 09:05 CET", "today at 09:05 CET", "yesterday at 09:05 CET"),
        ("fr", "lundi 1 mars à 09:05 CET", "lundi 1 mars 2028 à 09:05 CET", "aujourd\u2019hui à 09:05 CET", "hier à 09:05 CET"),
        ("de", "Montag, 1. März um 09:05 Uhr CET", "Montag, 1. März 2028 um 09:05 Uhr CET", "heute um 09:05 Uhr CET", "gestern um 09:05 Uhr CET"),
        ("es", "el lunes 1 de marzo a las 9:05 CET", "el lunes 1 de marzo de 2028 a las 9:05 CET", "hoy a las 9:05 CET", "ayer a las 9:05 CET"),
    ],
)  # fmt: skip
def test_moments_in_the_order_of_the_language(
    pages: Pages, language: str, dated: str, later: str, today: str, yesterday: str
) -> None:
    def at(days: int, year: int | None = None) -> str:
        there = Moment(AT.iso, days, AT.weekday, AT.day, AT.month, year, AT.hour, AT.minute, AT.zone)
        return said(pages, language, "when", there)

    assert [at(100), at(466, 2028), at(0), at(-1)] == [dated, later, today, yesterday]


def test_a_catalogue_may_count_to_twelve() -> None:
    texts = {"%(hour)s:%(minute)s": ("%(h12)s.%(minute)s %(half)s",)}
    templates = _templates(
        _CompiledOnce(ROOT / "templates"),
        {**phrases(Catalogue(texts)), "language": "en", "languages": [], "asset": str},
    )
    clock: Any = templates["home.html"].globals["when"]

    def at(hour: int) -> str:
        there = Moment(AT.iso, 0, 0, 1, 2, None, hour, 5, "CET")
        return str(clock(there)).partition(">")[2].removesuffix("</time>")

    assert [at(0), at(11), at(12), at(23)] == [
        f"today at {clock} CET" for clock in ("12.05 AM", "11.05 AM", "12.05 PM", "11.05 PM")
    ]


def test_a_year_is_told_where_it_is_another() -> None:
    now = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, -1))
    assert [moment(now + days * DAY, now).year for days in (-300, 0, 30, 50)] == [None, None, None, 2027]


def test_nobody_is_sent_away_for_less_than_it_takes() -> None:
    seconds = (0, 1, 60, 61, 899, 3600, 7200, 7201, 86339, 86400, 8 * DAY - 1)
    assert [patience(each) for each in seconds] == [
        Span(1, "minute"),
        Span(1, "minute"),
        Span(1, "minute"),
        Span(2, "minute"),
        Span(15, "minute"),
        Span(1, "hour"),
        Span(2, "hour"),
        Span(3, "hour"),
        Span(1, "day"),
        Span(1, "day"),
        Span(8, "day"),
    ]


def test_a_language_costs_little() -> None:
    loader = _CompiledOnce(ROOT / "templates")

    def language(code: str) -> object:
        catalogue = read_catalogue(ROOT / "locale" / code / "LC_MESSAGES" / "safeip.po")
        words = {**phrases(catalogue), "language": code, "languages": [], "asset": str}
        return catalogue, _templates(loader, words)

    kept = [language("fr")]  # the first one compiles for all
    spent = []
    for code in ("de", "es", "de", "es"):
        begin = time.process_time()
        kept.append(language(code))
        spent.append(time.process_time() - begin)
    assert min(spent) < 0.05
    tracemalloc.start()
    kept.append(language("es"))
    size, _most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 250 * 1024
