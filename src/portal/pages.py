"""Pages: templates in each language, compiled once, and the answers made of them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import jinja2
from aiohttp import web
from markupsafe import Markup, escape

from portal.assets import Assets
from portal.catalogue import Catalogue, read_catalogue
from portal.cookies import Cookie
from portal.form import Wrong
from portal.headers import NO_STORE
from portal.language import COOKIE, DEFAULT, choose

_YEAR_S = 365 * 86400
# The macros that every page has, by file; a file may use those of the ones before it.
_MACROS = {
    "words.html": ("when", "length", "titles", "all_of", "done_text", "browser_text", "state_text"),
    "fields.html": (
        "token",
        "field",
        "lines",
        "checks",
        "choice",
        "tick",
        "refused",
        "new_password",
        "code_field",
    ),
}
_VARY = "Accept-Language, Cookie"


class Pages:
    """Renders the templates below `root` (the tree that holds templates/, static/ and locale/).

    One environment a language, so that nothing is looked up per request but the texts. Raises OSError,
    BadCatalogue and jinja2.TemplateError at start, not later.
    """

    def __init__(self, root: Path, *, secure: bool) -> None:
        self.assets = Assets(root / "static")
        self._choice = Cookie(COOKIE, "[a-z]{2,3}", secure=secure, lives_s=_YEAR_S)
        catalogues = {DEFAULT: Catalogue()} | {
            file.parents[1].name: read_catalogue(file)
            for file in sorted((root / "locale").glob("*/LC_MESSAGES/safeip.po"))
        }
        # The languages' own names: a catalogue translates "English" as its own, such as "Français".
        names = [(code, catalogue.gettext("English")) for code, catalogue in catalogues.items()]
        self._templates = {
            code: _templates(root / "templates", code, catalogue, names, self.assets)
            for code, catalogue in catalogues.items()
        }

    @property
    def languages(self) -> tuple[str, ...]:
        """Their codes, English first."""
        return tuple(self._templates)

    def answer(
        self,
        request: web.Request,
        name: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: object,
    ) -> web.Response:
        """The page `name` in the visitor's language. `?lang=` chooses one, and a cookie keeps the choice."""
        language, chosen = self._language(request)
        response = web.Response(
            text=self._render(request, language, name, values),
            status=status,
            content_type="text/html",
            headers={
                "Cache-Control": NO_STORE,
                "Content-Language": language,
                "Vary": _VARY,
                **(headers or {}),
            },
        )
        if chosen:
            self._choice.give(response, language)
        return response

    def part(self, request: web.Request, name: str, **values: object) -> str:
        """A part of a page in the visitor's language, such as a row, for a script that puts it in its place."""
        return self._render(request, self._language(request)[0], name, values)

    def _language(self, request: web.Request) -> tuple[str, bool]:
        """Which one, and whether this request chose it."""
        wanted = request.query.get("lang") if request.rel_url.raw_query_string else None
        if wanted in self._templates:
            return wanted, True
        asked = request.headers
        return choose(self._templates, asked.get("Accept-Language", ""), asked.get("Cookie", "")), False

    def _render(self, request: web.Request, language: str, name: str, values: Mapping[str, object]) -> str:
        caller = request.get("caller")
        shown = {
            "path": request.path,
            "caller": caller,
            "form_token": None if caller is None else caller.form_token,
            "done": request.query.get("done") if request.rel_url.raw_query_string else None,
            **values,
        }
        return self._templates[language][name].render(shown)


def _words(catalogue: Catalogue) -> dict[str, Callable[..., str]]:
    """`_` and `ngettext` as templates call them; what is filled in is escaped."""

    def gettext(message: str, **values: object) -> Markup:
        text = catalogue.gettext(message)
        return Markup(text % {name: escape(value) for name, value in values.items()} if values else text)  # noqa: S704 - our own text

    def ngettext(singular: str, plural: str, num: int) -> Markup:
        return Markup(catalogue.ngettext(singular, plural, num) % {"num": num})  # noqa: S704 - our own text

    def say(wrong: Wrong) -> str:
        """What is wrong with a field, as a sentence below it."""
        template = catalogue.gettext(wrong.template)
        text = template % wrong.values if wrong.values else template
        return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")

    return {"_": gettext, "ngettext": ngettext, "say": say}


def _templates(
    folder: Path, code: str, catalogue: Catalogue, names: list[tuple[str, str]], assets: Assets
) -> dict[str, jinja2.Template]:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        auto_reload=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Plain functions: jinja2's own i18n extension takes two more calls for each text, a third of a page's time.
    environment.globals.update(_words(catalogue), language=code, languages=names, asset=assets.path)
    # Taken out of their file once; an import in each template would do so with each page.
    for file, names_in_it in _MACROS.items():
        macros = environment.get_template(file).module
        environment.globals.update({macro: getattr(macros, macro) for macro in names_in_it})
    return {name: environment.get_template(name) for name in environment.list_templates(["html"])}
