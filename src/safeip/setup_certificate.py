"""A certificate that browsers trust: certbot obtains it and renews it, its deploy hook hands it to the portal.

Another authority than Let's Encrypt is named in certbot's own settings, /etc/letsencrypt/cli.ini.
"""

import argparse
import re
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from portal.settings import Files
from safeip import check, service, setup_start, terminal
from safeip.config import Config, parse_config, read_config, read_text
from safeip.problem import ConfigError
from safeip.setup_file import draft
from safeip.setup_found import listening, read_sockets

_HOOK = Path(__file__).parents[2] / "certbot-deploy-hook"  # a checkout has none there
_FILES = Files("/etc/safeip/tls/certificate.pem", "/etc/safeip/tls/key.pem")  # where the hook puts them
_NAME = "safeip"  # certbot's for it: what it renews for others keeps its names and its hooks
_LIVE = f"/etc/letsencrypt/live/{_NAME}"
_LOG = "/var/log/letsencrypt/letsencrypt.log"
_PORT = 80  # of HTTP-01, RFC 8555, 8.3: no other will do
_TIMERS = ("certbot.timer", "snap.certbot.renew.timer")
_FULL_NAME = re.compile(r"[^:]+\.[a-z][a-z0-9-]*")
_AUTO = re.compile(r"""(?m)^([ \t]*)tls[ \t]*=[ \t]*(["'])auto\2""")
_PORTAL = re.compile(r"(?m)^[ \t]*\[[ \t]*portal[ \t]*\].*$")


class NotObtainedError(Exception):
    """There is no certificate, and nothing is changed; why, and what would be right."""


def offer(config: Config, options: argparse.Namespace) -> Config:
    """Ask whether certbot is to obtain one, and have it do so; the configuration then. Raises NotObtainedError. Ctrl-C is a no."""
    if config.settings.tls != "auto" or not _HOOK.exists() or not (names := _names(config)):
        return config
    program, taken = _ready(config, options)
    terminal.say()
    terminal.say(f"certbot can obtain a certificate that browsers trust for {', '.join(names)}, and renew it.")
    terminal.say(f"Its authority comes to tcp/{_PORT} from anywhere, now and at each renewal: the router has to forward it too.")
    try:
        if not terminal.yes("Obtain it now, and agree to the authority's terms of use?", default=True):
            return config
        email = terminal.ask("E-mail address for the authority, or none", _email, default=options.email or "none")
        webroot = options.webroot
        if taken:
            question = f"A web server listens on tcp/{_PORT}. Directory from which it serves http://{names[0]}/"
            webroot = terminal.ask(question, _directory, default=webroot or "/var/www/html")
        config = _obtain(config, program, email, webroot)[0]
    except KeyboardInterrupt:
        terminal.say()
    return config


def alone(options: argparse.Namespace) -> None:
    """Have certbot obtain one for the configuration that is there, ask nothing, and restart SafeIP where it runs.

    Raises ConfigError, NotObtainedError, OSError, and KeyboardInterrupt before anything is changed.
    """
    config = read_config(options.config)
    if config.settings.tls not in ("auto", _FILES):
        raise NotObtainedError('portal.tls is neither "auto" nor what certbot\'s hook writes: change it by hand')
    if not (names := _names(config)):
        raise NotObtainedError("portal.url, url_ipv4 and url_ipv6 have to have full names in them: no authority certifies others")
    program, taken = _ready(config, options)
    if taken and not options.webroot:
        raise NotObtainedError(f"a web server listens on tcp/{_PORT}: name with --webroot the directory from which it serves http://{names[0]}/")
    new, before = _obtain(config, program, options.email, options.webroot)
    if before is None:
        return
    found = setup_start.offered(new)
    if found is None or not found.runs:
        terminal.say(f"Restart SafeIP, so that the portal serves it{f': {found.command}' if found else ''}")
        return
    begin = time.time()
    if not service.start():
        said = service.said(begin)
        before.replace(config.path)
        service.start()
        raise NotObtainedError("\n".join([f"SafeIP did not start with it, and {config.path} is as it was:", *said]))


def _names(config: Config) -> list[str]:
    """The portal's host names; none where one is an address, or not a full name."""
    urls = (config.settings.url, config.settings.url_ipv4, config.settings.url_ipv6)
    names = list(dict.fromkeys(urlsplit(url).hostname or "" for url in urls if url))
    return names if all(_FULL_NAME.fullmatch(name) for name in names) else []


def _ready(config: Config, options: argparse.Namespace) -> tuple[str, bool]:
    """The path of certbot, and whether somebody listens on tcp/80. Raises NotObtainedError."""
    if not _HOOK.exists():
        raise NotObtainedError(f"there is no {_HOOK}, which the package brings")
    ports = [(one.name, port) for one in config.policy.services.values() for port in one.ports]
    closes = [name for name, port in ports if port.protocol == "tcp" and port.first <= _PORT <= port.last]
    if _PORT in config.policy.portal_ports:
        closes.append("the portal itself")
    if closes:
        raise NotObtainedError(
            f"{closes[0]} holds tcp/{_PORT}, to which the certificate's authority comes from anywhere: "
            "take it away there, or have certbot ask by DNS (examples/certbot.ini)"
        )
    program = options.certbot or shutil.which("certbot") or shutil.which("certbot", path="/snap/bin")
    if program is None:
        raise NotObtainedError("certbot is not there: apt install certbot, then safeip setup --certificate")
    return program, any(one.port == _PORT and "tcp" in one.protocols for one in listening(read_sockets()))


def _obtain(config: Config, program: str, email: str, webroot: str) -> tuple[Config, Path | None]:
    """The configuration with it, and the copy of the one before, where it had to be changed."""
    words = [program, "certonly", "--non-interactive", "--agree-tos", "--keep-until-expiring", "--renew-with-new-domains"]
    words += ["--cert-name", _NAME, "--deploy-hook", str(_HOOK)]
    words += ["--email", email] if email else ["--register-unsafely-without-email"]
    words += ["--webroot", "--webroot-path", webroot] if webroot else ["--standalone"]
    for name in _names(config):
        words += ["--domain", name]
    if _run(words) != 0:
        raise NotObtainedError(
            f"certbot obtained no certificate, as it says above ({_LOG} says more); "
            "the portal keeps the one that it has until you try again: safeip setup --certificate"
        )
    # certbot calls it for what is new alone, and does not mind its failure
    done = subprocess.run([_HOOK], env={"RENEWED_LINEAGE": _LIVE}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotObtainedError(done.stderr.strip().rpartition("\n")[2].removeprefix("safeip: "))
    if service.inactive(*_TIMERS):
        terminal.say(f"Nothing renews it yet: systemctl enable --now {_TIMERS[0]}")
    if config.settings.tls == _FILES:
        return config, None
    new, text = _with_files(config)
    if found := check.refusals(new):
        raise NotObtainedError(found[0])
    with draft(config.path, text.encode()) as written:
        copy = written.put(replace=True)
    terminal.say(f"Written: portal.tls of {config.path}; as it was: {copy}")
    return new, copy


def _with_files(config: Config) -> tuple[Config, str]:
    """The configuration with the files in place of "auto", and its text. Raises NotObtainedError where it is written in another way."""
    line = f'tls = {{ certificate = "{_FILES.certificate}", key = "{_FILES.key}" }}'
    text = read_text(config.path)
    text = _AUTO.sub(rf"\1{line}", text, 1) if _AUTO.search(text) else _PORTAL.sub(rf"\g<0>\n{line}", text, 1)
    wanted = replace(config, settings=replace(config.settings, tls=_FILES))
    try:
        if parse_config(text, config.path) == wanted:
            return wanted, text
    except ConfigError:
        pass
    raise NotObtainedError(f"the certificate is there; write in {config.path}, under [portal]: {line}")


def _run(words: list[str]) -> int:
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise NotObtainedError(f"{words[0]} cannot be run: {error.strerror}") from None
    try:
        return process.wait()
    except KeyboardInterrupt:
        with terminal.undisturbed():  # it has to take away what it serves
            process.terminate()
            process.wait()
        raise


def _email(text: str) -> str:
    if text.lower() == "none":
        return ""
    if not re.fullmatch(r"[^\s@-][^\s@]*@[^\s@]+", text):
        raise ValueError("Write an e-mail address, or none.")
    return text


def _directory(text: str) -> str:
    if not Path(text).is_absolute() or not Path(text).is_dir():
        raise ValueError("Write the path of a directory.")
    return text
