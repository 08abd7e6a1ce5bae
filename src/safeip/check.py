"""Whether what the configuration says works here: the ruleset in the kernel, and the certificate for the portal's user."""

import contextlib
import time
from typing import TYPE_CHECKING

from nft import rules
from nft.sets import KernelError
from portal.settings import Files
from safeip import privileges
from safeip.config import Config

if TYPE_CHECKING:
    from portal.tls import Certificate


def refusals(config: Config) -> list[str]:
    """What is against it, tried without changing anything; a sentence each."""
    return [*_of_certificate(config), *_of_kernel(config)]


def _of_kernel(config: Config) -> list[str]:
    try:
        found = rules.check(config.policy, config.custom)
    except (KernelError, PermissionError) as error:
        why = error.strerror if isinstance(error, PermissionError) else error
        return [f"{config.path} is good, but the ruleset could not be tried: {why}: run it as root (sudo safeip check)"]
    return [f"the kernel refuses the ruleset of {config.path} and {config.custom}: {refusal}" for refusal in found]


def ending(config: Config) -> list[str]:
    """A sentence on a certificate that ends soon or has ended; raises nothing."""
    found = _certificate(config)
    return [said] if found and not isinstance(found, str) and (said := found.ending(time.time())) else []


def _of_certificate(config: Config) -> list[str]:
    found = _certificate(config)
    return [f"{config.path}: {found}"] if isinstance(found, str) else []


def _certificate(config: Config) -> "Certificate | str | None":
    """The one under portal.tls or why it will not do, as the portal's user sees it; None for whoever may not become that."""
    files = config.settings.tls
    if not isinstance(files, Files) or not privileges.has_capability(privileges.CAP_NET_ADMIN):
        return None
    from portal.tls import Certificate, FilesError  # noqa: PLC0415 (OpenSSL, for this alone)

    account = privileges.portal_account()
    becoming = contextlib.nullcontext() if account == privileges.own_account() else privileges.acting_as(account)
    try:
        with becoming:
            return Certificate(files)
    except FilesError as error:
        return str(error)
