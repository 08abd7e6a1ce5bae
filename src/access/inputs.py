"""The one door for what people type: each check gives back the clean value or raises BadInput."""

import re
import unicodedata
from collections.abc import Mapping
from urllib.parse import urlsplit

from access.duration import LONGEST_S, format_duration
from access.services import Service

LABEL_BYTES = 64
NAME_LONGEST = 32
MESSAGE_LONGEST = 200
PIN_SHORTEST, PIN_LONGEST = 4, 64
URL_LONGEST = 2048

_NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}", re.ASCII)
# RFC 3986's characters, less the quote. A backslash would be a slash to browsers.
_URL = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&()*+,;=%]+")


class BadInput(ValueError):
    """A value that cannot be taken: `field` names it as the API does, `message` says what would be right.

    `message` is `template` with `values` in their places (`%(most)s`), so that a page can say it in
    another language.
    """

    def __init__(self, field: str, template: str, **values: object) -> None:
        self.message = template % values if values else template
        super().__init__(f"{field}: {self.message}")
        self.field = field
        self.template = template
        self.values = values


def clean_name(text: str) -> str:
    """A name as it is compared, however a keyboard spelt it."""
    return unicodedata.normalize("NFKC", text[: NAME_LONGEST * 4]).strip().lower()


def check_name(value: object, field: str = "name") -> str:
    """A person's name: a letter, then letters, digits, '.', '_' and '-', 32 at most."""
    name = clean_name(value) if isinstance(value, str) else ""
    if not name:
        raise BadInput(field, "is empty; write a name such as yves")
    if not _NAME.fullmatch(name):
        raise BadInput(
            field,
            "is no name; write a letter, then letters without accents, digits, dots and dashes, %(most)s at most",
            most=NAME_LONGEST,
        )
    return name


def check_label(value: object, field: str = "label") -> str:
    """Who it is for: 1 to 64 bytes of printable text, which a comment in the kernel can hold as it is."""
    if not isinstance(value, str):
        raise BadInput(field, "is not text")
    label = unicodedata.normalize("NFC", value).strip()
    if not label:
        raise BadInput(field, "is empty; write who or what it is for, such as Mamie")
    if not label.isprintable():  # a lone surrogate is not printable either
        raise BadInput(
            field, "holds a character that cannot be shown; write letters, digits, spaces and signs"
        )
    if '"' in label or "\\" in label:
        raise BadInput(field, "holds a double quote or a backslash; leave it out")
    if (size := len(label.encode())) > LABEL_BYTES:
        raise BadInput(field, "is too long: %(size)s bytes, %(most)s at most", size=size, most=LABEL_BYTES)
    return label


def check_message(value: object, field: str = "message") -> str:
    """What a stranger says of themselves: up to 200 characters of printable text on one line, or nothing."""
    text = (
        " ".join(unicodedata.normalize("NFC", value[: MESSAGE_LONGEST * 4]).split())
        if isinstance(value, str)
        else ""
    )
    if len(text) > MESSAGE_LONGEST:
        raise BadInput(field, "is too long; write at most %(most)s characters", most=MESSAGE_LONGEST)
    if not text.isprintable():
        raise BadInput(
            field, "holds a character that cannot be shown; write letters, digits, spaces and signs"
        )
    return text


def check_services(
    value: object, services: Mapping[str, Service], field: str = "services"
) -> tuple[str, ...]:
    """Names of configured services, at least one, each once, in the order given."""
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise BadInput(field, "is not a list of names of services")
    if not value:
        raise BadInput(field, "is empty; choose from %(known)s", known=", ".join(services))
    for name in value:
        if name not in services:
            raise BadInput(
                field,
                "%(name)s is not a service; choose from %(known)s",
                name=ascii(name[:40]),
                known=", ".join(services),
            )
    return tuple(dict.fromkeys(value))


def check_duration(
    value: object, names: tuple[str, ...], services: Mapping[str, Service], field: str = "for"
) -> int | None:
    """Seconds of a grant within the maximum of each named service; None is each service's own default."""
    if value is None:
        return None
    seconds = check_count(value, field, most=LONGEST_S)
    for name in names:
        most = services[name].max_duration_s
        if seconds is not None and seconds > most:
            raise BadInput(
                field,
                "%(duration)s is above the maximum of %(name)s; write at most %(most)s",
                duration=format_duration(seconds),
                name=name,
                most=format_duration(most),
            )
    return seconds


def check_count(value: object, field: str, *, most: int) -> int | None:
    """A whole number from 1 to `most`, or None."""
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInput(field, "is not a whole number; write 1 to %(most)s", most=most)
    if not 1 <= value <= most:
        raise BadInput(field, "is out of range; write 1 to %(most)s", most=most)
    return value


def check_pin(value: object, field: str = "pin") -> str | None:
    """A PIN to be set, as clean_pin leaves it: 4 to 64 printable characters; None is no PIN."""
    if value is None:
        return None
    pin = clean_pin(value) if isinstance(value, str) else ""
    if not (PIN_SHORTEST <= len(pin) <= PIN_LONGEST and pin.isprintable()):
        raise BadInput(
            field,
            "is not a PIN; write %(least)s to %(most)s digits or letters",
            least=PIN_SHORTEST,
            most=PIN_LONGEST,
        )
    return pin


def clean_pin(text: str) -> str:
    """A PIN as it is compared, however a keyboard spelt it: NFKC (full-width digits), no spaces around it."""
    return unicodedata.normalize("NFKC", text[: PIN_LONGEST * 4]).strip()


def check_url(value: object, field: str = "to") -> str | None:
    """An http or https URL with a host and without name and password, in ASCII; None is none."""
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise BadInput(field, "is not a URL; write one such as https://cloud.example.org/")
    if len(value) > URL_LONGEST:
        raise BadInput(
            field, "is too long: %(size)s characters, %(most)s at most", size=len(value), most=URL_LONGEST
        )
    if not _URL.fullmatch(value):
        raise BadInput(
            field, "holds a character that a URL cannot; write it percent-encoded, names in punycode"
        )
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadInput(field, "is not a URL; write one such as https://cloud.example.org/") from None
    if parts.scheme not in {"http", "https"}:
        raise BadInput(
            field, "begins with neither http:// nor https://; write one such as https://cloud.example.org/"
        )
    if not host or port == 0:
        raise BadInput(
            field, "names no host or port that could be reached; write one such as https://cloud.example.org/"
        )
    if "@" in parts.netloc:
        raise BadInput(
            field,
            "holds a name or password, which everyone would see; write one such as https://cloud.example.org/",
        )
    return value
