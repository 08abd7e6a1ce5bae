"""Every page and every state of one, by name: who looks at it, and how to get there on the real daemon.

`./dev shots` takes pictures of all of them and the browser's tests walk through them. A new page, or a new state of
one, is a new line of PLACES.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from playwright.sync_api import Browser, BrowserContext, Page, Route, ViewportSize

from lab import ways
from lab.household import URL, Household

Who = Literal["visitor", "trusted", "unreadable", "special", "yves", "mamie", "leo", "camille", "odile"]

PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
_ADDRESSES = {"trusted": "10.0.0.7", "unreadable": "nobody", "special": "255.255.255.255"}
# A link's page that would open by itself is a tab in the background, so that it waits for its button.
_WAIT = """
    Object.defineProperty(document, "visibilityState", {
        get: () => (document.querySelector("#open[data-auto]") ? "hidden" : "visible"),
    });
"""


@dataclass(frozen=True)
class Place:
    """A page in one state. `early`: seen before the household has settled."""

    name: str
    who: Who
    reach: ways.Way
    early: bool = False


PLACES: tuple[Place, ...] = (
    # what visitors see
    Place("home", "visitor", ways.at("/")),
    Place("home-open", "visitor", ways.home_open),
    Place("home-links", "visitor", ways.remembered),
    Place("home-forgotten", "visitor", ways.forgotten),
    Place("home-trusted", "trusted", ways.at("/")),
    Place("link", "visitor", ways.link("one")),
    Place("link-several", "visitor", ways.link("several")),
    Place("link-limits", "visitor", ways.link("limits")),
    Place("link-pin", "visitor", ways.link("pin")),
    Place("link-pin-wrong", "visitor", ways.wrong_pin),
    Place("link-without-cookies", "visitor", ways.without_cookies),
    Place("link-other-family", "visitor", ways.link("other-family-once")),
    Place("link-shared", "visitor", ways.shared(ways.link("no-page"))),
    Place("link-trusted", "trusted", ways.link("one")),
    Place("link-still-open", "visitor", ways.still_open),
    Place("opened", "visitor", ways.opened("one")),
    Place("opened-several", "visitor", ways.opened("several")),
    Place("opened-no-page", "visitor", ways.opened("no-page")),
    Place("opened-shared", "visitor", ways.shared(ways.opened("several"))),
    Place("opened-neighbours", "visitor", ways.neighbours),
    Place("opened-renewed", "visitor", ways.twice),
    Place("opened-moved", "visitor", ways.moved),
    Place("opened-both-families", "visitor", ways.both_families),
    Place("opened-no-answer", "visitor", ways.no_answer),
    Place("opened-other-family", "visitor", ways.other_family),
    Place("opened-kept", "visitor", ways.kept),
    Place("opened-over", "visitor", ways.over),
    Place("problem-unknown", "visitor", ways.at("/l/nosuchlink")),
    Place("problem-paused", "visitor", ways.link("paused")),
    Place("problem-ended", "visitor", ways.link("ended")),
    Place("problem-used-up", "visitor", ways.link("used-up")),
    Place("problem-opens-nothing", "visitor", ways.link("nothing")),
    Place("problem-pin-locked", "visitor", ways.locked_pin),
    Place("problem-shared-address", "visitor", ways.shared(ways.link("other-family"))),
    Place("problem-special-address", "special", ways.opened("one")),
    Place("problem-no-address", "unreadable", ways.at("/")),
    Place("problem-banned", "visitor", ways.banned),
    Place("problem-no-such-page", "visitor", ways.at("/nowhere")),
    Place("closed-by-name", "visitor", ways.at("/auth?service=cloud")),
    Place("problem-bad-method", "visitor", ways.at("/sign-out")),
    Place("problem-foreign-form", "mamie", ways.from_elsewhere("/me/open")),
    Place("problem-signed-out", "mamie", ways.signed_out),
    Place("problem-old-form", "mamie", ways.old_form),
    Place("problem-not-allowed", "mamie", ways.at("/admin")),
    Place("problem-gone", "mamie", ways.at("/me/links/zzzzzz")),
    Place("problem-not-saved", "mamie", ways.not_saved),
    Place("problem-invitation", "visitor", ways.at("/invitation/nosuchinvitation")),
    Place("sign-in", "visitor", ways.at("/sign-in")),
    Place("sign-in-wrong", "visitor", ways.sent("/sign-in", name="mamie", password="wrong password", code="000000")),
    Place("sign-in-foreign", "visitor", ways.from_elsewhere("/sign-in")),
    Place("signed-out", "visitor", ways.signed_in_out),
    Place("ask", "visitor", ways.at("/ask")),
    Place("ask-wrong", "visitor", ways.sent("/ask", name="Jean!", password="aaaaaaaaaa", again="other", message="Jean")),
    Place("asked", "visitor", ways.at("/sign-in?done=asked")),
    Place("invitation", "visitor", ways.invited),
    Place("invitation-wrong", "visitor", ways.invited_wrongly),
    Place("invitation-accepted", "visitor", ways.accepted),
    # what somebody who is signed in sees
    Place("me", "mamie", ways.mine),
    Place("me-open", "mamie", ways.mine_open),
    Place("me-shared", "mamie", ways.shared(ways.at("/me"))),
    Place("me-elsewhere", "mamie", ways.mine_elsewhere),
    Place("me-wrong", "mamie", ways.nothing_ticked("/me")),
    Place("me-nothing-allowed", "leo", ways.at("/me")),
    Place("me-admin-without-codes", "odile", ways.at("/me")),
    Place("me-links-none", "mamie", ways.at("/me/links"), early=True),
    Place("me-link-made", "mamie", ways.own_link_then("")),
    Place("me-link-paused", "mamie", ways.own_link_then("pause")),
    Place("me-link-remove", "mamie", ways.own_link_then("remove")),
    Place("me-link-rotate", "mamie", ways.own_link_then("rotate")),
    Place("me-other-family", "camille", ways.at("/me")),
    Place("me-links", "mamie", ways.at("/me/links")),
    Place("me-links-wrong", "mamie", ways.nothing_ticked("/me/links", label="Jean")),
    Place("me-links-search", "mamie", ways.at("/me/links?q=nobody")),
    Place("me-sessions", "mamie", ways.at("/me/sessions")),
    Place("me-password", "mamie", ways.at("/me/password")),
    Place("me-password-wrong", "camille", ways.sent("/me/password", current="x", new="aaaaaaaaaa", again="other")),
    Place("me-codes", "mamie", ways.at("/me/totp")),
    Place("me-codes-off", "camille", ways.at("/me/totp")),
    Place("me-codes-new", "camille", ways.at("/me/totp/new")),
    Place("me-codes-another", "mamie", ways.at("/me/totp/new")),
    Place("me-recovery", "mamie", ways.at("/me/recovery")),
    # what an admin sees
    Place("admin-empty", "yves", ways.at("/admin"), early=True),
    Place("admin-masked", "yves", ways.masked, early=True),
    Place("admin-links-none", "yves", ways.at("/admin/links?q=nobody"), early=True),
    Place("admin-blocked-none", "yves", ways.at("/admin/blocked"), early=True),
    Place("admin-banned-none", "yves", ways.at("/admin/banned"), early=True),
    Place("admin-tokens-none", "yves", ways.at("/admin/tokens"), early=True),
    Place("admin", "yves", ways.at("/admin")),
    Place("admin-shared", "yves", ways.let_in_shared),
    Place("admin-search", "yves", ways.at("/admin?q=nobody")),
    Place("admin-open-wrong", "yves", ways.sent("/admin", address="garden", note="Mamie")),
    Place("admin-closed", "yves", ways.done("tr button.danger:not([formaction])")),
    Place("admin-prolonged", "yves", ways.done("[formaction='/admin/prolong']")),
    Place("admin-banned-one", "yves", ways.done("[formaction='/admin/shut-out']")),
    Place("admin-undone", "yves", ways.done("tr button.danger:not([formaction])", "#said form button")),
    Place("admin-links", "yves", ways.at("/admin/links")),
    Place("admin-link", "yves", ways.one_link("/admin/links/{}")),
    Place("admin-link-ended", "yves", ways.one_link("/admin/links/{}", "ended")),
    Place("admin-people", "yves", ways.at("/admin/people")),
    Place("admin-people-wrong", "yves", ways.sent("/admin/people", name="Jean!")),
    Place("admin-person", "yves", ways.at("/admin/people/mamie")),
    Place("admin-person-invited", "yves", ways.at("/admin/people/odette")),
    Place("admin-person-asks", "yves", ways.at("/admin/people/jean")),
    Place("admin-person-remove", "yves", ways.at("/admin/people/mamie/remove")),
    Place("admin-invitation", "yves", ways.invite_somebody),
    Place("admin-blocked", "yves", ways.at("/admin/blocked")),
    Place("admin-blocked-search", "yves", ways.at("/admin/blocked?q=tcp/9")),
    Place("admin-banned", "yves", ways.at("/admin/banned")),
    Place("admin-banned-wrong", "yves", ways.sent("/admin/banned", address="10.0.0.7")),
    Place("admin-history", "yves", ways.at("/admin/history")),
    Place("admin-history-search", "yves", ways.at("/admin/history?who=" + quote("person:nobody"))),
    Place("admin-tokens", "yves", ways.at("/admin/tokens")),
    Place("admin-tokens-wrong", "yves", ways.sent("/admin/tokens", label='"')),
    Place("admin-tokens-search", "yves", ways.at("/admin/tokens?q=nobody")),
    Place("admin-token-made", "yves", ways.make_token),
    Place("admin-token-remove", "yves", ways.remove_token),
)


def chosen(names: Iterable[str]) -> tuple[Place, ...]:
    """The places of these names, or all of them.

    First those that come before the household has settled, then the admin's: the others make lists long.
    """
    wanted = set(names)
    if unknown := wanted - {place.name for place in PLACES}:
        raise LookupError(f"no place named {', '.join(sorted(unknown))}; there are: {' '.join(p.name for p in PLACES)}")
    places = [place for place in PLACES if not wanted or place.name in wanted]
    return tuple(sorted(places, key=lambda place: (not place.early, place.who != "yves")))


@contextmanager
def visit(browser: Browser, house: Household, place: Place, language: str = "en") -> Iterator[Page]:
    """A place on a phone, in daylight, in a browser of its own: what it shows when it has come to rest."""
    if not place.early:
        house.settle()
    context = browser.new_context(
        ignore_https_errors=True,
        locale=language,
        viewport=PHONE,
        color_scheme="light",
        reduced_motion="reduce",
        extra_http_headers={"X-Forwarded-For": _ADDRESSES.get(place.who) or house.address()},
    )
    try:
        context.add_cookies(
            [{"name": name, "value": value, "url": URL} for name, value in house.sessions.get(place.who, {}).items()]
        )
        _stay(context)
        context.add_init_script(_WAIT)
        context.set_default_timeout(10_000)
        page = context.new_page()
        place.reach(ways.Visit(house, page))
        page.evaluate("() => document.fonts.ready.then(() => true)")
        yield page
    finally:
        context.close()


def _stay(context: BrowserContext) -> None:
    """Services answer, but nobody is led away to one: an answer without content leaves a page where it is."""

    def answer(route: Route) -> None:
        route.fulfill(status=204)

    context.route(re.compile(r"^http://home\.test|^https://home\.test:8096"), answer)
