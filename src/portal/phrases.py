"""What templates say in a language: texts, and numbers as the language writes them."""

from collections.abc import Callable, Mapping

from markupsafe import Markup, escape

from portal.catalogue import Catalogue
from portal.form import Wrong


def phrases(catalogue: Catalogue) -> Mapping[str, Callable[..., str]]:
    """`_`, `ngettext`, `number` and `say` as templates call them; what is filled in is escaped.

    Patterns come from the catalogue: "1,000" there is how the language groups digits.
    """
    group = catalogue.gettext("1,000")[1:-3]

    def number(count: int) -> str:
        return f"{count:,}".replace(",", group)

    def gettext(message: str, **values: object) -> Markup:
        text = catalogue.gettext(message)
        return Markup(text % {name: escape(value) for name, value in values.items()} if values else text)  # noqa: S704 - our own text

    def ngettext(singular: str, plural: str, num: int) -> Markup:
        text = catalogue.ngettext(singular, plural, num).replace("%(num)d", "%(num)s")
        return Markup(text % {"num": number(num)})  # noqa: S704 - our own text

    def say(wrong: Wrong) -> str:
        """What is wrong with a field, as a sentence below it."""
        template = catalogue.gettext(wrong.template)
        text = template % wrong.values if wrong.values else template
        return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")

    return {"_": gettext, "ngettext": ngettext, "number": number, "say": say}
