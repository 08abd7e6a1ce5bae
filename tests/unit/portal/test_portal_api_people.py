"""The API's people on the control socket."""

from pathlib import Path
from typing import Any

import pyotp
import pytest
from portal_house import house, in_loop

PASSWORD = "vivid otter ladder 81"
MAMIE: dict[str, Any] = {"name": "mamie", "services": ["cloud"]}


@in_loop
async def test_a_person_is_added_shown_changed_and_removed(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        added = await h.api("POST", "people", {**MAMIE, "links": True, "password": PASSWORD})
        assert added.status == 201
        assert PASSWORD not in added.text
        assert "argon2" not in added.text
        mamie = added.json
        assert (mamie["name"], mamie["role"], mamie["state"]) == ("mamie", "member", "active")
        assert (mamie["services"], mamie["links"], mamie["totp"]) == (["cloud"], True, False)
        assert (await h.api("GET", "people")).json == [mamie]
        assert (await h.api("GET", "people/mamie")).json == mamie
        changed = (await h.api("PATCH", "people/mamie", {"services": []})).json
        assert (changed["services"], changed["links"], changed["role"]) == ([], True, "member")
        changed = (await h.api("PATCH", "people/mamie", {"links": False, "role": "admin"})).json
        assert (changed["services"], changed["links"], changed["role"]) == ([], False, "admin")
        assert (await h.api("PATCH", "people/mamie", {})).json == changed, "what is not given stays"
        assert (await h.api("GET", "people/mamie/sessions")).json == []
        assert (await h.api("POST", "people/mamie/sign-out")).json["name"] == "mamie"
        assert (await h.api("PATCH", "people/mamie", {"role": "member"})).status == 422, "the last admin"
        await h.api("POST", "people", {"name": "yves", "role": "admin", "password": PASSWORD})
        assert (await h.api("DELETE", "people/mamie")).json["name"] == "mamie"
        assert [one["name"] for one in (await h.api("GET", "people")).json] == ["yves"]


@in_loop
async def test_totp_is_on_after_a_right_code_alone(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.api("POST", "people", {**MAMIE, "password": PASSWORD})
        offer = (await h.api("POST", "people/mamie/totp")).json
        assert list(offer) == ["seed", "secret", "uri"]
        assert offer["uri"].startswith("otpauth://totp/")
        assert (await h.api("GET", "people/mamie")).json["totp"] is False
        code = pyotp.TOTP(offer["secret"]).at(int(h.now[0]))
        wrong = f"{(int(code) + 1) % 1_000_000:06}"
        refused = await h.api("POST", "people/mamie/totp/confirm", {"seed": offer["seed"], "code": wrong})
        assert (refused.status, refused.json["field"]) == (422, "code")
        refused = await h.api("POST", "people/mamie/totp/confirm", {"seed": "0" * 31, "code": code})
        assert (refused.status, refused.json["field"]) == (422, "seed")
        assert (await h.api("GET", "people/mamie")).json["totp"] is False
        done = (await h.api("POST", "people/mamie/totp/confirm", {"seed": offer["seed"], "code": code})).json
        assert len(set(done["recovery_codes"])) == 10
        assert (await h.api("GET", "people/mamie")).json["totp"] is True
        assert (await h.api("DELETE", "people/mamie/totp")).json["totp"] is False
        history = (await h.api("GET", "history")).text
        for secret in (offer["secret"], offer["seed"], code, *done["recovery_codes"]):
            assert secret not in history


@in_loop
async def test_an_invitation_has_a_url_that_is_told_once(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        added = await h.api("POST", "people", {**MAMIE, "invite": True})
        assert added.status == 201
        url, end = added.json["url"], added.json["expires_at"]
        assert url.startswith("https://open.example.org/invitation/")
        assert end == added.json["invitation_expires_at"]
        assert added.json["state"] == "invited"
        shown = await h.api("GET", "people/mamie")
        assert url.rpartition("/")[2] not in shown.text + (await h.api("GET", "history")).text
        again = await h.api("POST", "people/mamie/invitation")
        assert again.status == 201
        assert again.json["url"] != url


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "people", {}, "name"),
        ("POST", "people", {"name": 7}, "name"),
        ("POST", "people", {"name": ""}, "name"),
        ("POST", "people", {"name": "../x"}, "name"),
        ("POST", "people", {"name": "mamie"}, "name"),
        ("POST", "people", {"name": "eve", "role": "root"}, "role"),
        ("POST", "people", {"name": "eve", "role": 1}, "role"),
        ("POST", "people", {"name": "eve", "services": "cloud"}, "services"),
        ("POST", "people", {"name": "eve", "services": [1]}, "services"),
        ("POST", "people", {"name": "eve", "services": ["nonsense"]}, "services"),
        ("POST", "people", {"name": "eve", "links": 1}, "links"),
        ("POST", "people", {"name": "eve", "invite": "yes"}, "invite"),
        ("POST", "people", {"name": "eve", "invite": True, "password": PASSWORD}, "invite"),
        ("POST", "people", {"name": "eve", "password": "short"}, "password"),
        ("POST", "people", {"name": "eve", "password": 1234567890}, "password"),
        ("POST", "people", {"name": "eve", "password": "password1234"}, "password"),
        ("POST", "people", {"name": "eve", "totp": "x"}, "totp"),
        ("PATCH", "people/mamie", {"name": "eve"}, "name"),
        ("PATCH", "people/mamie", {"role": "root"}, "role"),
        ("PATCH", "people/mamie", {"password": PASSWORD}, "password"),
        ("POST", "people/mamie/password", {}, "password"),
        ("POST", "people/mamie/password", {"password": "x" * 257}, "password"),
        ("POST", "people/mamie/totp/confirm", {"seed": "x"}, "code"),
        ("POST", "people/mamie/totp/confirm", {"code": "123456"}, "seed"),
        ("POST", "people/mamie/approve", {"services": [], "role": "admin"}, "role"),
    ],
)
@in_loop
async def test_what_cannot_be_taken_is_named_and_changes_nothing(
    tmp_path: Path, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    async with house(tmp_path) as h:
        await h.api("POST", "people", {**MAMIE, "password": PASSWORD})
        before = (await h.api("GET", "people")).json
        refused = await h.api(method, path, body)
        assert (refused.status, refused.json["field"]) == (422, field)
        assert (await h.api("GET", "people")).json == before


@in_loop
async def test_a_person_whom_nobody_knows_is_404(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        for method, path, body in (
            ("GET", "", None), ("PATCH", "", {"links": True}), ("DELETE", "", None), ("POST", "/totp", None),
            ("POST", "/password", {"password": PASSWORD}), ("DELETE", "/totp", None), ("POST", "/invitation", None),
            ("POST", "/totp/confirm", {"seed": "0" * 32, "code": "123456"}), ("POST", "/approve", {"services": []}),
            ("POST", "/refuse", None), ("POST", "/sign-out", None), ("GET", "/sessions", None),
        ):  # fmt: skip
            refused = await h.api(method, f"people/nobody{path}", body)
            assert (refused.status, refused.json["title"]) == (404, "Unknown person"), (method, path)


@in_loop
async def test_who_asks_is_approved_or_refused_and_nobody_else(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.api("POST", "people", {**MAMIE, "password": PASSWORD})
        for act in ("approve", "refuse"):
            refused = await h.api("POST", f"people/mamie/{act}", {"services": ["cloud"]} if act == "approve" else None)
            assert refused.status in {404, 422}, act
        assert (await h.api("GET", "people/mamie")).json["state"] == "active"
