"""Who may do what: every route times every method times everybody. A route without a row fails."""

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from urllib.parse import parse_qs, quote

import pyotp
from abuse_town import PASSWORD, Browser, Town, town
from aiohttp import web
from portal_house import in_loop

from access.actor import Actor

# A number is the answer's status; `sign-in` a redirect to the sign-in page. Objects are mamie's, who is `member`;
# `other` is another member. What stands after | is posted besides the form's token.
PUBLIC = """
                                     nobody   member  other   admin
GET  /                               200      303     303     303
GET  /healthz                        200      200     200     200
GET  /metrics                        401      401     401     401
GET  /static/{digest}/{name}         200      200     200     200

GET  /l/{token}                      200      200     200     200
POST /l/{token}                      200      200     200     200
POST /l/{token}/stay                 200      200     200     200
GET  /l/{token}/app.webmanifest      200      200     200     200
POST /also/{ticket}                  200      200     200     200
GET  /auth                           401      401     401     401   | service=cloud
GET  /nic/update                     401      403     403     403   | hostname=cloud
POST /forget                         303      403     403     403

GET  /sign-in                        200      303     303     303
POST /sign-in                        303      403     403     403   | name=mamie password={password} code=
POST /sign-out                       403      303     303     303
GET  /ask                            200      303     303     303
POST /ask                            303      403     403     403   | name=eve password={new} again={new} message=x
GET  /invitation/{token}             200      200     200     200
POST /invitation/{token}             200      200     200     200   | password={new} again={new} code={invited}

GET  /me                             sign-in  200     200     200
POST /me/open                        403      303     303     303   | services=cloud address=203.0.113.9
POST /me/close                       403      303     303     303   | service=cloud address=203.0.113.9
POST /me/move                        403      422     422     422   | address=203.0.113.9
GET  /me/links                       sign-in  200     200     303
POST /me/links                       403      303     303     403   | label=Jean services=cloud
GET  /me/links/{id}                  sign-in  200     404     403
GET  /me/links/{id}/rotate           sign-in  200     404     403
GET  /me/links/{id}/remove           sign-in  200     404     403
POST /me/links/{id}/pause            403      303     404     403
POST /me/links/{id}/resume           403      303     404     403
POST /me/links/{id}/rotate           403      303     404     403
POST /me/links/{id}/remove           403      303     404     403
GET  /me/password                    sign-in  200     200     200
POST /me/password                    403      303     303     303   | current={password} code={code} new={new} again={new}
GET  /me/totp                        sign-in  200     200     200
GET  /me/totp/new                    sign-in  200     200     200
POST /me/totp/new                    403      422     422     422   | seed=00000000000000000000000000000000 code=000000
POST /me/totp/off                    403      303     303     403   | password={password} code={code}
GET  /me/recovery                    sign-in  404     404     200
POST /me/recovery                    403      404     404     200   | password={password} code={code}
GET  /me/sessions                    sign-in  200     200     200
POST /me/sessions/end                403      303     303     303   | session=000000000000
POST /me/sessions/end-all            403      303     303     303

GET  /admin                          sign-in  403     403     200
GET  /admin/open                     sign-in  403     403     200
POST /admin/open                     403      403     403     303   | services=cloud address=203.0.113.9
GET  /admin/prolong                  sign-in  403     403     200
POST /admin/prolong                  403      403     403     422   | service=cloud address=203.0.113.9
POST /admin/revoke                   403      403     403     303   | service=cloud address=203.0.113.9
POST /admin/shut-out                 403      403     403     303   | address=203.0.113.9
POST /admin/undo                     403      403     403     303   | id=0000000000000000
GET  /admin/live                     sign-in  403     403     406
GET  /admin/blocked                  sign-in  403     403     200
POST /admin/blocked                  403      403     403     303   | address=198.51.100.9
GET  /admin/banned                   sign-in  403     403     200
GET  /admin/ban                      sign-in  403     403     200
POST /admin/ban                      403      403     403     303   | address=203.0.113.9 for=1h
POST /admin/unban                    403      403     403     303   | address=203.0.113.9
GET  /admin/history                  sign-in  403     403     200
GET  /admin/links                    sign-in  403     403     200
POST /admin/links                    403      403     403     303   | label=Jean services=cloud
GET  /admin/links/{id}               sign-in  403     403     200
GET  /admin/links/{id}/rotate        sign-in  403     403     200
GET  /admin/links/{id}/remove        sign-in  403     403     200
POST /admin/links/{id}/pause         403      403     403     303
POST /admin/links/{id}/resume        403      403     403     303
POST /admin/links/{id}/rotate        403      403     403     303
POST /admin/links/{id}/remove        403      403     403     303
GET  /admin/people                   sign-in  403     403     200
POST /admin/people                   403      403     403     200   | name=eve role=member services=cloud
GET  /admin/people/{name}            sign-in  403     403     200
POST /admin/people/{name}            403      403     403     303   | role=member services=game
POST /admin/people/{name}/approve    403      403     403     303   | services=cloud
POST /admin/people/{name}/refuse     403      403     403     303
GET  /admin/people/{name}/invite     sign-in  403     403     200
POST /admin/people/{name}/invite     403      403     403     200
POST /admin/people/{name}/sign-out   403      403     403     303
GET  /admin/people/{name}/remove     sign-in  403     403     200
POST /admin/people/{name}/remove     403      403     403     303   | name=jean
GET  /admin/tokens                   sign-in  403     403     200
POST /admin/tokens                   403      403     403     200   | label=Router scopes=read services=*
GET  /admin/tokens/{id}/remove       sign-in  403     403     200
POST /admin/tokens/{id}/remove       403      403     403     303
"""

NO_HEAD = ("/nic/update",)  # it acts, so that what only looks is refused
OTHER_METHODS = ("PUT", "PATCH", "DELETE", "OPTIONS")
EVERYBODY = {"nobody": None, "member": "mamie", "other": "yves", "admin": "ann"}
NEW = "nine green herons wade"


@dataclass
class Row:
    method: str
    path: str
    cells: list[str]
    more: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def rows(table: str) -> list[Row]:
    found = []
    for line in table.strip().splitlines()[1:]:
        if not line:
            continue
        left, _, more = line.partition("|")
        method, path, *cells = left.split()
        found.append(Row(method, path, cells, more.strip()))
    return found


def routes(app: web.Application) -> set[str]:
    """What the router knows. HEAD goes with GET."""
    return {
        f"{route.method} {route.resource.canonical}" for route in app.router.routes() if route.method != "HEAD"
    }


def pages(found: Iterable[str]) -> set[str]:
    """Those that are none of the API's, which has a table of its own (test_api_table.py)."""
    return {route for route in found if " /api/" not in route}


class Stage:
    """Puts everything back before each request: people, objects, sessions, counts."""

    def __init__(self, there: Town) -> None:
        self.there = there
        self._people = dict(there.access.state.people)
        self._addresses: Iterator[str] = (f"203.0.{third}.{last}" for third, last in itertools.product(range(256), range(1, 255)))

    async def set(self, who: str, path: str) -> tuple[Browser, str]:
        """The browser of `who`, and the path with objects in it that are there."""
        there, access = self.there, self.there.access

        def put_back(tables) -> None:
            tables.people = dict(self._people)
            tables.links, tables.tokens = {}, {}

        await access.state.commit(put_back)
        there.gate.clear()
        there.house.peer.bans.clear()
        there.later()
        name, address = EVERYBODY[who], next(self._addresses)
        browser = there.browser(address) if name is None else await there.at(name, address)
        link = await there.link("mamie")
        if "{token}" in path and path.startswith("/invitation"):
            await access.people.add(Actor.CLI, "jean", services=["cloud"])
            path = path.replace("{token}", await access.people.invite(Actor.CLI, "jean"))
        elif "{name}" in path:
            await access.people.add(Actor.CLI, "jean", services=["cloud"])
        if path.endswith(("/approve", "/refuse")):
            await access.people.remove(Actor.CLI, "jean")
            await access.people.ask("jean", NEW, "It is me", address=IPv4Address("10.0.0.1"), trusted=True)
        if path.startswith("/static/"):
            path = re.findall(r"/static/[^\"]+", (await there.browser().get("/")).text)[0]
        token = access.links.token(link)
        if path.startswith("/admin/tokens/"):
            path = path.replace("{id}", (await access.tokens.add(Actor.CLI, "Router", ["read"]))[0].id)
        if path == "/forget":
            browser.jar["__Host-safeip-links"] = token
        if "{ticket}" in path:
            opened = await access.opening.open(token, IPv6Network("2001:db8::/64"))
            path = path.replace("{ticket}", opened.ticket or "")
        path = path.replace("{token}", token).replace("{id}", link.id)
        return browser, path.replace("{name}", "jean")


def said(answer) -> str:
    """An answer as a cell has it."""
    to = answer.header("Location")
    sent = answer.status == 303 and to.startswith("/sign-in") and "done=" not in to
    return "sign-in" if sent else str(answer.status)


def test_every_route_has_a_row_and_every_row_a_route(tmp_path: Path) -> None:
    in_loop(same_routes)(tmp_path)


async def same_routes(directory: Path) -> None:
    async with town(directory) as there:
        public = pages(routes(there.house.door.app))
        assert sorted(public) == sorted(map(str, rows(PUBLIC)))
        # The door is the only way to add a route, and it knows who may pass
        doors = {f"{route.method} {route.path}": route.who for route in there.routes}
        assert set(pages(doors)) == public
        for row in rows(PUBLIC):
            nobody, member, _other, _admin = row.cells
            match doors.get(str(row)):
                case "person" | "admin" as who:
                    assert nobody == ("sign-in" if row.method == "GET" else "403"), row
                    assert who == "person" or member == "403", row


def test_everybody_gets_the_answers_of_the_table(tmp_path: Path) -> None:
    in_loop(answers)(tmp_path)


async def answers(directory: Path) -> None:
    async with town(directory) as there:
        stage, wrong = Stage(there), []
        for row in rows(PUBLIC):
            for who, wanted in zip(EVERYBODY, row.cells, strict=True):
                browser, path = await stage.set(who, row.path)
                if row.method == "GET":
                    path += f"?{row.more}" if row.more else ""
                    answer = await browser.get(path)
                    head = await browser.get(path, "HEAD")
                    if (said(head), head.body) != ("405" if row.path in NO_HEAD else said(answer), b""):
                        wrong.append(f"HEAD {path}, {who}: {said(head)}")
                else:
                    answer = await posted(there, browser, path, row.more)
                if said(answer) != wanted:
                    wrong.append(f"{row}, {who}: {said(answer)}, not {wanted}")
        assert not wrong, "\n".join(["", *wrong])


async def posted(there: Town, browser: Browser, path: str, more: str):
    """Post a row's form with a token of the page it is on, or of any page where there is none."""
    if path.startswith("/also/"):
        return await browser.post(path, token=None, Origin="https://open.example.org")
    if path.endswith("/stay"):
        opened = await browser.submit(path.removesuffix("/stay"), {})
        return await browser.post(path, token=re.findall('data-form="([^"]+)"', opened.text)[0])
    for page in (path, "/me", "/", "/sign-in"):
        browser.token = ""
        await browser.get(page)
        if browser.token:
            break
    return await browser.post(path, filled_in(there, path, more))


def filled_in(there: Town, path: str, more: str) -> dict[str, list[str]]:
    """What a row posts; {code} is what ann's authenticator shows, {invited} what jean's is to show."""
    code = there.code("ann")
    if "{invited}" in more:
        secret = there.access.invitations.invited(path.rpartition("/")[2]).secret
        more = more.replace("{invited}", pyotp.TOTP(secret).at(int(there.house.now[0])))
    for name, value in (("password", PASSWORD), ("new", NEW), ("code", code)):
        more = more.replace(f"{{{name}}}", quote(value))
    return parse_qs(more.replace(" ", "&"), keep_blank_values=True)


def test_methods_that_no_route_has_are_refused_and_change_nothing(tmp_path: Path) -> None:
    in_loop(other_methods)(tmp_path)


async def other_methods(directory: Path) -> None:
    async with town(directory) as there:
        stage, wrong = Stage(there), []
        by_path: dict[str, set[str]] = {}
        for row in rows(PUBLIC):
            by_path.setdefault(row.path, set()).add(row.method)
        for template, methods in by_path.items():
            for who in EVERYBODY:
                browser, path = await stage.set(who, template)
                before = (dict(there.access.state.people), dict(there.access.state.links), dict(there.gate))
                for method in (*OTHER_METHODS, *({"GET", "POST"} - methods)):
                    answer = await browser.get(path, method)
                    allowed = methods | ({"HEAD"} if "GET" in methods and template not in NO_HEAD else set())
                    if (answer.status, set(answer.header("Allow").split(","))) != (405, allowed):
                        wrong.append(f"{method} {path}, {who}: {answer.status} {answer.header('Allow')}")
                if (dict(there.access.state.people), dict(there.access.state.links), dict(there.gate)) != before:
                    wrong.append(f"{path}, {who}: something changed")
        assert not wrong, "\n".join(["", *wrong])
