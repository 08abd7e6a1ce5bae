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

from lab import troubles, ways
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
    """A page in one state.

    `shows`: which of the program's kinds of trouble it is, as `problem:busy`; tests/unit/test_gallery.py knows them all.
    `early`: seen before the household has settled. `late`: seen after all others, since it leaves much behind or restarts the
    daemon. `words`: it differs from another place in a sentence alone.
    """

    name: str
    who: Who
    reach: ways.Way
    shows: str = ""
    early: bool = False
    late: bool = False
    words: bool = False


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
    Place("link-pin-wrong", "visitor", ways.wrong_pin, shows="notice:pin-wrong"),
    Place("link-pin-left-out", "visitor", troubles.pin_left_out, shows="notice:pin-needed"),
    Place("link-foreign", "visitor", ways.from_elsewhere("one"), shows="notice:foreign-form"),
    Place("link-opening", "visitor", troubles.opening),
    Place("link-slow", "visitor", troubles.slow, shows="say:slow"),
    Place("link-without-cookies", "visitor", ways.without_cookies, shows="notice:old-form"),
    Place("link-other-family", "visitor", ways.link("other-family-once")),
    Place("link-shared", "visitor", ways.shared(ways.link("no-page"))),
    Place("link-trusted", "trusted", ways.link("one")),
    Place("link-still-open", "visitor", ways.still_open),
    Place("opened", "visitor", ways.opened("one"), shows="say:going"),
    Place("opened-several", "visitor", ways.opened("several")),
    Place("opened-no-page", "visitor", ways.opened("no-page")),
    Place("opened-shared", "visitor", ways.shared(ways.opened("several"))),
    Place("opened-neighbours", "visitor", ways.neighbours),
    Place("opened-renewed", "visitor", ways.twice),
    Place("opened-moved", "visitor", ways.moved),
    Place("opened-both-families", "visitor", ways.both_families, shows="say:both-families"),
    Place("opened-one-family", "visitor", troubles.one_family, shows="say:one-family"),
    Place("opened-no-answer", "visitor", ways.no_answer, shows="say:no-answer"),
    Place("opened-nothing-answers", "visitor", troubles.nothing_answers, shows="say:other-family"),
    Place("opened-other-family", "visitor", ways.other_family, shows="say:needs"),
    Place("opened-kept", "visitor", ways.kept, shows="say:kept"),
    Place("opened-kept-paused", "visitor", troubles.paused, shows="say:paused"),
    Place("opened-kept-retrying", "visitor", troubles.retrying, shows="say:retrying"),
    Place("opened-kept-moved", "visitor", troubles.kept_elsewhere, shows="say:moved"),
    Place("opened-over", "visitor", ways.over),
    Place("problem-unknown", "visitor", ways.at("/l/nosuchlink"), shows="problem:unknown", words=True),
    Place("problem-paused", "visitor", ways.link("paused"), shows="problem:paused"),
    Place("problem-ended", "visitor", ways.link("ended"), shows="problem:expired", words=True),
    Place("problem-used-up", "visitor", ways.link("used-up"), shows="problem:used-up", words=True),
    Place("problem-opens-nothing", "visitor", ways.link("nothing"), shows="problem:no-service", words=True),
    Place("problem-pin-locked", "visitor", ways.locked_pin, shows="problem:pin-locked", words=True),
    Place("problem-shared-address", "visitor", ways.shared(ways.link("other-family")), shows="problem:shared-address", words=True),
    Place("problem-special-address", "special", ways.opened("one"), shows="problem:address-refused", words=True),
    Place("problem-no-address", "unreadable", ways.at("/"), shows="problem:no-client-address", words=True),
    Place("problem-banned", "visitor", ways.banned, shows="problem:too-many-tries", words=True),
    Place("problem-no-such-page", "visitor", ways.at("/nowhere"), shows="problem:not-found", words=True),
    Place("closed-by-name", "visitor", ways.at("/auth?service=cloud")),
    Place("problem-bad-method", "visitor", ways.at("/sign-out"), shows="problem:bad-method", words=True),
    Place("problem-foreign-form", "mamie", ways.from_elsewhere("/me/open"), shows="problem:foreign-form", words=True),
    Place("problem-signed-out", "mamie", ways.signed_out, shows="problem:signed-out"),
    Place("problem-old-form", "mamie", ways.old_form, shows="problem:old-form"),
    Place("problem-not-allowed", "mamie", ways.at("/admin"), shows="problem:not-allowed", words=True),
    Place("problem-gone", "mamie", ways.at("/me/links/zzzzzz"), shows="problem:gone", words=True),
    Place("problem-not-saved", "mamie", ways.not_saved, shows="problem:not-saved", words=True),
    Place("problem-invitation", "visitor", ways.at("/invitation/nosuchinvitation"), shows="problem:invitation-gone", words=True),
    Place("problem-bad-form", "visitor", troubles.bad_form, shows="problem:bad-form", words=True),
    Place("problem-too-large", "visitor", troubles.too_large, shows="problem:too-large", words=True),
    Place("problem-too-slow", "visitor", troubles.too_slow, shows="problem:too-slow", words=True),
    Place("problem-trusted-address", "mamie", troubles.trusted_address, shows="problem:trusted-address", words=True),
    Place("problem-busy", "visitor", troubles.busy_pin, shows="problem:busy", late=True, words=True),
    Place("problem-hidden-address", "trusted", troubles.hidden_address, shows="problem:hidden-address", late=True, words=True),
    Place("problem-too-many", "visitor", troubles.no_room, shows="problem:too-many", late=True, words=True),
    Place("problem-gate-unavailable", "visitor", troubles.no_gate, shows="problem:gate-unavailable", late=True, words=True),
    Place("problem-gate-refused", "visitor", troubles.sets(ways.opened("one")), shows="problem:gate-refused", late=True, words=True),
    Place("problem-defect", "mamie", troubles.sets(ways.all_ticked), shows="problem:defect", late=True, words=True),
    Place("sign-in", "visitor", ways.at("/sign-in")),
    Place("sign-in-wrong", "visitor", ways.sent("/sign-in", name="mamie", password="wrong password", code="000000"), shows="refused:wrong"),
    Place("sign-in-foreign", "visitor", ways.from_elsewhere("/sign-in"), shows="refused:foreign-form"),
    Place("sign-in-old", "visitor", ways.old_sign_in, shows="refused:old-form", words=True),
    Place("sign-in-not-saved", "visitor", troubles.sign_in_not_saved, shows="refused:not-saved", words=True),
    Place("sign-in-locked", "visitor", troubles.locked_sign_in, shows="refused:locked", words=True),
    Place("sign-in-busy", "visitor", troubles.busy_sign_in, shows="refused:busy", late=True, words=True),
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
    Place("admin-undone", "yves", ways.done("tr button.danger:not([formaction])", "#said form button"), shows="said:undone"),
    Place("admin-gone", "yves", ways.at("/admin?done=gone"), shows="said:gone", words=True),
    Place("admin-changed-meanwhile", "yves", ways.at("/admin?done=not-undone-changed"), shows="said:not-undone-changed", words=True),
    Place("admin-not-allowed", "yves", ways.at("/admin?done=not-undone-not-allowed"), shows="said:not-undone-not-allowed", words=True),
    Place("admin-over", "yves", ways.at("/admin?done=not-undone-over"), shows="said:not-undone-over", words=True),
    Place("admin-not-undone", "yves", ways.at("/admin?done=not-undone-unknown"), words=True),
    Place("admin-stale", "yves", troubles.stale),
    Place("admin-masked-outside", "yves", troubles.masked_outside, late=True),
    Place("admin-pages", "yves", troubles.pages, late=True),
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
    Place("admin-blocked-sets", "yves", troubles.sets(ways.at("/admin/blocked")), late=True),
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

    First those that come before the household has settled, then the admin's: the others make lists long. Then the late ones.
    """
    wanted = set(names)
    if unknown := wanted - {place.name for place in PLACES}:
        raise LookupError(f"no place named {', '.join(sorted(unknown))}; there are: {' '.join(p.name for p in PLACES)}")
    places = [place for place in PLACES if not wanted or place.name in wanted]
    return tuple(sorted(places, key=lambda place: (place.late, not place.early, place.who != "yves")))


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
        context.set_default_timeout(20_000)
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
