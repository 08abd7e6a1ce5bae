"""Ways to the pages of the gallery: what somebody does in their browser, in whatever language it speaks."""

from collections.abc import Callable
from urllib.parse import urljoin

from playwright.sync_api import Page, Route, expect

from lab.household import PASSWORD, URL, Household, link_id

OTHER_FAMILY = "https://open6.test:8443"  # the portal, for a visitor's other address
FILMS = "https://home.test:8096"


class Visit:
    """Somebody on the way to a place: their browser's page, and the household."""

    def __init__(self, house: Household, page: Page) -> None:
        self.house = house
        self.page = page

    def go(self, where: str) -> None:
        """A page, by its path or URL."""
        self.page.goto(urljoin(URL, where))

    def come_from(self, address: str) -> None:
        """From now on the browser's requests have this address."""
        self.page.context.set_extra_http_headers({"X-Forwarded-For": address})

    def unanswered(self, *origins: str) -> None:
        """From now on the browser gets no answer there."""
        for origin in origins:
            self.page.context.route(f"{origin}/**", lambda route: route.abort())

    def press(self, button: str = "main form button") -> None:
        """Press a button that leads to another page."""
        with self.page.expect_navigation():
            self.page.locator(button).first.click()

    def send(self, **fields: str) -> None:
        """Fill in the form of the page, and send it with the button below the last field."""
        typed = "[name={}]:not([type=hidden])"
        form = (
            self.page.locator("main form")
            .filter(has=self.page.locator(typed.format(next(iter(fields)))))
            .first
        )
        for name, value in fields.items():
            form.locator(typed.format(name)).first.fill(value)
        with self.page.expect_navigation():
            form.locator("button").last.click()

    def says(self, code: str) -> None:
        """Wait until a script of the page says a sentence of its remarks."""
        self.page.locator(f"[data-say={code}]").wait_for()

    def open(self, link: str) -> None:
        """Open a link by its button: one of the household's by its name, any other by its URL."""
        self.go(self.house.links.get(link, link))
        self.press("#open button")

    def keep(self, link: str) -> None:
        """Open a link, and keep it open while its page is."""
        self.open(link)
        self.page.locator("#keep input").check()
        self.says("kept")


Way = Callable[[Visit], None]
_OLD = "() => document.querySelectorAll('[name=form]').forEach(field => { field.value = 'old'; })"


def at(where: str) -> Way:
    """Just go there."""
    return lambda visit: visit.go(where)


def shared(way: Way) -> Way:
    """The same from a carrier's address."""

    def reach(visit: Visit) -> None:
        visit.come_from(f"100.64.7.{visit.house.number() % 250 + 2}")
        way(visit)

    return reach


def neighbours(visit: Visit) -> None:
    """A link that is open where another one is open as well."""
    visit.open("one")
    visit.open("no-page")


def let_in_shared(visit: Visit) -> None:
    """The admin's list with a carrier's address."""
    visit.go("/admin?q=" + visit.house.grant(f"100.64.8.{visit.house.number() % 250 + 2}"))


def masked(visit: Visit) -> None:
    """The admin's first page while a router in front hides who comes."""
    visit.house.gateway.nft("add element inet safeip masks4 { 192.168.1.1 timeout 1d }")
    visit.go("/admin")
    visit.house.gateway.nft("flush set inet safeip masks4")


def link(name: str) -> Way:
    """The page of one of the household's links."""
    return lambda visit: visit.go(visit.house.links[name])


def opened(name: str) -> Way:
    """What a link's button leads to."""
    return lambda visit: visit.open(name)


def sent(where: str, **fields: str) -> Way:
    """What a form answers."""

    def reach(visit: Visit) -> None:
        visit.go(where)
        visit.send(**fields)

    return reach


def twice(visit: Visit) -> None:
    visit.open("one")
    visit.open("one")


def both_families(visit: Visit) -> None:
    """The visitor's other address reaches the portal as well; the proxy says which it is."""

    def other(route: Route) -> None:
        route.continue_(headers={**route.request.headers, "x-forwarded-for": "2001:db8:42::7"})

    visit.page.context.route(f"{OTHER_FAMILY}/**", other)
    visit.open("one")
    visit.says("both-families")


def other_family(visit: Visit) -> None:
    """The service is reached by the other family alone, which the visitor's network has not."""
    visit.unanswered(OTHER_FAMILY)
    visit.open("other-family")
    visit.says("needs")


def no_answer(visit: Visit) -> None:
    """The service does not run."""
    visit.unanswered(FILMS)
    visit.open("films")
    visit.says("no-answer")


def kept(visit: Visit) -> None:
    visit.keep("one")


def over(visit: Visit) -> None:
    """The time that it was open for has passed."""
    visit.open(visit.house.link("Mamie", ("game",), **{"for": "2s"}))
    visit.page.locator("#countdown a.button").wait_for()


def forgotten(visit: Visit) -> None:
    remembered(visit)
    visit.press("form[action='/forget'] button")


def moved(visit: Visit) -> None:
    url = visit.house.link(addresses=1)
    visit.house.visitor(visit.house.address()).open(url)
    visit.open(url)


def still_open(visit: Visit) -> None:
    visit.open(visit.house.link(uses=1))
    visit.go(visit.page.url)


def wrong_pin(visit: Visit) -> None:
    visit.go(visit.house.link("Odile", pin="2468"))
    visit.page.fill("#pin", "1111")
    visit.press("#open button")


def locked_pin(visit: Visit) -> None:
    visit.go(visit.house.links["locked"])
    visit.page.fill("#pin", "1111")
    visit.press("#open button")


def without_cookies(visit: Visit) -> None:
    visit.go(visit.house.links["pin"])
    visit.page.context.clear_cookies()
    visit.page.fill("#pin", "2468")
    visit.press("#open button")


def remembered(visit: Visit) -> None:
    visit.open("one")
    visit.open("no-page")
    visit.go("/")


def home_open(visit: Visit) -> None:
    visit.open("several")
    visit.page.context.clear_cookies()
    visit.go("/")


def from_elsewhere(where: str) -> Way:
    """Another site sends a form there: to a path, or to one of the household's links."""

    def reach(visit: Visit) -> None:
        target = urljoin(URL, visit.house.links.get(where, where))
        visit.page.set_content(
            f'<main><form method="post" action="{target}"><input type="hidden" name="form" value="x"><button>x</button></form></main>'
        )
        visit.press()

    return reach


def banned(visit: Visit) -> None:
    visit.come_from("203.0.113.99")
    visit.go("/sign-in")
    visit.send(name="mamie", password=PASSWORD)


def signed_out(visit: Visit) -> None:
    visit.go("/me")
    visit.page.context.clear_cookies()
    visit.press()


def old_form(visit: Visit) -> None:
    visit.go("/me")
    visit.page.evaluate(_OLD)
    visit.press()


def old_sign_in(visit: Visit) -> None:
    visit.go("/sign-in")
    visit.page.evaluate(_OLD)
    visit.send(name="mamie", password=PASSWORD)


def not_saved(visit: Visit) -> None:
    visit.go("/me/links")
    visit.page.locator("[name=services]").first.check()
    with visit.house.full_disk():
        visit.send(label="Mamie")


def signed_in_out(visit: Visit) -> None:
    """Signs somebody out who was signed in for that alone."""
    person = f"gast{visit.house.number()}"
    for name, value in visit.house.accept(visit.house.invite(person)).items():
        visit.page.context.add_cookies([{"name": name, "value": value, "url": URL}])
    visit.go("/me")
    visit.press("nav.site form button")


def invited(visit: Visit) -> None:
    visit.go(visit.house.invite(f"gast{visit.house.number()}", services=["cloud"]))


def invited_wrongly(visit: Visit) -> None:
    invited(visit)
    visit.send(password="aaaaaaaaaa", again="other", code="000000")


def accepted(visit: Visit) -> None:
    invited(visit)
    visit.send(
        password=PASSWORD,
        again=PASSWORD,
        code=visit.house.code(visit.page.locator("code.secret").inner_text()),
    )


def mine(visit: Visit) -> None:
    visit.house.close_all("person:mamie")
    visit.go("/me")


def mine_open(visit: Visit) -> None:
    mine(visit)
    all_ticked(visit)


def all_ticked(visit: Visit) -> None:
    """Somebody opens all that they may."""
    visit.go("/me")
    for box in visit.page.locator("[name=services]").all():
        box.check()
    visit.press("form[action='/me/open'] button")


def nothing_ticked(where: str, **fields: str) -> Way:
    """What a form answers that opens nothing."""

    def reach(visit: Visit) -> None:
        visit.go(where)
        for box in visit.page.locator("main [name=services]").all():
            box.uncheck()
        if fields:
            visit.send(**fields)
        else:
            visit.press("form[action='/me/open'] button")

    return reach


def mine_elsewhere(visit: Visit) -> None:
    mine_open(visit)
    visit.come_from(visit.house.address())
    visit.go("/me")


def own_link(visit: Visit) -> str:
    visit.go("/me/links")
    visit.page.locator("[name=services]").first.check()
    visit.send(label="Jean")
    return visit.page.url.partition("?")[0]


def own_link_then(verb: str) -> Way:
    def reach(visit: Visit) -> None:
        place = own_link(visit)
        if verb == "pause":
            visit.press("form[action$='/pause'] button")
        elif verb:
            visit.page.goto(f"{place}/{verb}")

    return reach


def one_link(path: str, name: str = "limits") -> Way:
    return lambda visit: visit.go(path.format(link_id(visit.house.links[name])))


def invite_somebody(visit: Visit) -> None:
    visit.go("/admin/people")
    visit.page.locator("section form [name=services]").last.check()
    visit.send(name=f"gast{visit.house.number()}")


def make_token(visit: Visit) -> None:
    visit.go("/admin/tokens")
    visit.page.locator("[name=scopes][value='grant:self']").check()
    visit.page.locator("section form [name=services]").last.check()
    visit.send(label="Mamie, router")
    for summary in visit.page.locator("summary").all():
        summary.click()


def remove_token(visit: Visit) -> None:
    visit.go("/admin/tokens")
    visit.press("a[href$='/remove']")


def done(*buttons: str) -> Way:
    """The page after an admin closed, prolonged or banned somebody who was let in for that alone, or undid it."""

    def reach(visit: Visit) -> None:
        visit.go("/admin?q=" + visit.house.grant(visit.house.address()))
        for button in buttons:
            said = visit.page.locator("#said [role=status]")
            before = said.inner_text()
            visit.page.locator(button).first.click()
            expect(said).not_to_have_text(before)

    return reach
