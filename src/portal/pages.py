"""Pages: templates, compiled once for all languages, and the answers made of them."""

from collections.abc import Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import jinja2
from aiohttp import web

from portal.assets import Assets
from portal.catalogue import Catalogue, read_catalogue
from portal.cookies import Cookie
from portal.headers import NO_STORE
from portal.language import COOKIE, DEFAULT, choose
from portal.phrases import phrases

_YEAR_S = 365 * 86400
# The macros that every page has, by file; a file may use those of the ones before it.
_MACROS = {
    "words.html": ("when", "length", "titles", "all_of", "done_text", "browser_text", "state_text", "needs_text", "needs_way", "shared_text"),
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

    Each language has an environment of its own, so that nothing is looked up per request but the texts; what is
    compiled they share. Raises OSError, BadCatalogue and jinja2.TemplateError at start, not later.
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
        loader = _CompiledOnce(root / "templates")
        self._templates = {
            code: _templates(
                loader,
                # Plain functions: jinja2's own i18n extension takes two more calls for each text, a third of a page's time.
                {**phrases(catalogue), "language": code, "languages": names, "asset": self.assets.path},
            )
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


class _CompiledOnce(jinja2.FileSystemLoader):
    """Templates for environments that differ in their globals alone: compiling one takes ten times what the rest does."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._compiled: dict[str, CodeType] = {}

    def load(
        self, environment: jinja2.Environment, name: str, globals: Any = None  # noqa: A002, ANN401 - jinja2's
    ) -> jinja2.Template:
        """The template `name` in `environment`. Raises jinja2.TemplateError, OSError."""
        if name not in self._compiled:
            source, file, _ = self.get_source(environment, name)
            self._compiled[name] = environment.compile(source, name, file)
        return environment.template_class.from_code(environment, self._compiled[name], globals)


def _templates(loader: _CompiledOnce, words: Mapping[str, object]) -> dict[str, jinja2.Template]:
    """All of them, with `words` and the macros as globals."""
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        auto_reload=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words)
    # Taken out of their file once; an import in each template would do so with each page.
    for file, names_in_it in _MACROS.items():
        macros = environment.get_template(file).module
        environment.globals.update({macro: getattr(macros, macro) for macro in names_in_it})
    return {name: environment.get_template(name) for name in environment.list_templates(["html"])}
