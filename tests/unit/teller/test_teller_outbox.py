"""Messages through the real apprise to a real server: each URL once, whatever hangs or fails; no secret where others look."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.inbox import Inbox
from lab.process import wait_for
from teller import apprise_child, child, postman
from teller.outbox import Message, Outbox, mark
from teller.postman import Postman
from teller.secret_file import BadSecret, lines_of

NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox() as server:
        yield server


def message(body: str = "Something happened.", at: int = NOW) -> Message:
    return Message("SafeIP, open.example.org", body, warning=True, at=at)


class Office:
    """An outbox and its postman."""

    def __init__(self, tmp_path: Path, *urls: str) -> None:
        self.file = tmp_path / "urls"
        self.file.write_text("# mine\n\n" + "\n".join(urls) + "\n")
        self.file.chmod(0o600)
        self.log: list[str] = []
        self.outbox = Outbox()
        self.postman = Postman(str(self.file), self.log.append)

    def send(self, now: int = NOW, *, stopped: bool = False) -> int:
        """As the teller does; how many (message, URL) were tried."""
        urls = self.postman.urls()
        tried = self.outbox.due(urls, now)
        if tried:
            self.outbox.settle(tried, self.postman.send(urls, tried, lambda: stopped), now)
        return sum(len(to) for _, to in tried)


def test_a_message_arrives_once(tmp_path: Path, inbox: Inbox) -> None:
    it = Office(tmp_path, inbox.url())
    it.outbox.add(message("The link of <b>Mamie</b> & co."))
    assert it.send() == 1
    assert it.send() == 0
    (found,) = inbox.messages
    assert (found["title"], found["message"], found["type"]) == ("SafeIP, open.example.org", "The link of <b>Mamie</b> & co.", "warning")
    assert it.outbox.messages == []
    assert it.log == []


def test_the_url_that_works_hears_once_and_the_other_when_it_works_again(tmp_path: Path, inbox: Inbox) -> None:
    with Inbox() as broken:
        broken.status = 500
        it = Office(tmp_path, inbox.url(), broken.url())
        it.outbox.add(message("first"))
        assert it.send() == 2
        it.outbox.add(message("second"))
        assert it.send(NOW + 30) == 1, "the broken one is left alone, the other is not held up"
        assert [one["message"] for one in inbox.messages] == ["first", "second"]
        broken.status = 200
        it.outbox.add(message("third"))
        assert it.send(NOW + 60) == 4
        assert [one["message"] for one in broken.messages] == ["first", "second", "third"]
        assert [one["message"] for one in inbox.messages] == ["first", "second", "third"]
    assert it.log == ["messages wait: notification URL 2 (not reached); tried again later"]
    assert it.outbox.messages == []


def test_one_that_hangs_is_killed_and_holds_up_no_other(tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postman, "_KILLED_S", 12.0)
    with Inbox() as hung:
        hung.hung = True
        it = Office(tmp_path, hung.url("a?rto=3600"), inbox.url())
        it.outbox.add(message())
        assert it.send() == 2
        assert len(inbox.messages) == 1
        assert it.outbox.messages[0].to == [mark(hung.url("a?rto=3600"))]
        assert not any("teller.apprise_child" in arguments for arguments in processes())


def test_stopping_kills_the_child_at_once(tmp_path: Path) -> None:
    with Inbox() as hung:
        hung.hung = True
        it = Office(tmp_path, hung.url("a?rto=3600"))
        it.outbox.add(message())
        begin = time.monotonic()
        it.send(stopped=True)
        assert time.monotonic() - begin < postman._KILLED_S / 2
        assert it.outbox.messages[0].sending is False


def test_no_secret_is_in_arguments_environment_or_log_while_it_is_sent(tmp_path: Path) -> None:
    with Inbox() as hung:
        hung.hung = True
        it = Office(tmp_path, hung.url("tok3n-s3cret"))
        it.outbox.add(message())
        worker = threading.Thread(target=it.send)
        worker.start()
        wait_for("the child's request", hung.asked.is_set, 60)
        found = [arguments for arguments in processes() if "teller.apprise_child" in arguments]
        assert len(found) == 1, "then this looks at nothing"
        assert not any("s3cret" in text for text in [*processes(), *processes("environ")])
        hung.released.set()
        worker.join()
    assert "s3cret" not in "".join(it.log)


def processes(what: str = "cmdline") -> list[str]:
    """The arguments, or the environment, of each process that this one started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(") ")[2].split()[1]
            if parent == str(os.getpid()):
                found.append((process / what).read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@pytest.mark.parametrize("url", ["nosuch://x", "not a url", "json://", "tgram://x", "{}"])
def test_a_url_that_apprise_does_not_know_is_named_by_its_number(tmp_path: Path, inbox: Inbox, url: str) -> None:
    it = Office(tmp_path, url, inbox.url())
    it.outbox.add(message())
    it.send()
    assert len(inbox.messages) == 1
    assert it.log == ["messages wait: notification URL 1 (not one that apprise knows); tried again later"]


def test_without_apprise_there_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src = Path(child.__file__).parents[1]
    code = f"import sys; sys.path.insert(0, {str(src)!r}); sys.modules['apprise'] = None; from teller import apprise_child; apprise_child.main()"
    done = subprocess.run([sys.executable, "-c", code], input=b'{"urls": {}, "messages": []}', capture_output=True, check=True)
    assert json.loads(done.stdout) == {"missing": True}
    monkeypatch.setattr(child, "run", lambda *_: [{"missing": True}])
    it = Office(tmp_path, "json://127.0.0.1:9/")
    it.outbox.add(message())
    for now in (NOW, NOW + 3600):
        assert it.send(now) == 1
    assert it.log == ["messages wait: apprise is not there (apt install apprise)"]
    assert len(it.outbox.messages) == 1


def test_a_url_that_fails_is_tried_after_a_minute_then_less_and_less_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "run", lambda *_: [])
    it = Office(tmp_path, "json://127.0.0.1:9/")
    it.outbox.add(message())
    tries, now = [], NOW
    while it.outbox.messages:
        if it.send(now):
            tries.append(now - NOW)
        due = it.outbox.due_at()
        now = due if due is not None and due > now else now + 60
        it.outbox.tidy(now)
    assert tries[:8] == [0, 60, 180, 420, 900, 1860, 3780, 7380]
    assert 24 <= len(tries) <= 30


def test_no_more_messages_wait_than_somebody_reads() -> None:
    outbox = Outbox([message(str(n)) for n in range(300)])
    assert outbox.tidy(NOW) == 100
    assert outbox.messages[-1].body == "299"


def test_what_may_have_been_sent_before_a_crash_is_not_sent_again() -> None:
    outbox = Outbox([message("a"), message("b")])
    outbox.messages[0].sending = True
    assert outbox.begin() == 1
    assert [one.body for one in outbox.messages] == ["b"]


def test_a_url_that_left_the_file_is_not_waited_for(tmp_path: Path) -> None:
    outbox = Outbox([message()])
    outbox.due(["json://a", "json://b"], NOW)
    outbox.messages[0].to = [mark("json://b")]
    assert outbox.due(["json://a"], NOW) == []
    assert outbox.messages == []


def test_the_childs_patience_ends_before_its_life() -> None:
    assert apprise_child.WITHIN_S < postman._KILLED_S


# the files of secrets


def test_a_file_of_secrets_is_roots_or_ours_and_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "urls"
    file.write_text("# a\n json://x \njson://x\n\njson://y")
    for mode in (0o600, 0o400, 0o640):
        file.chmod(mode)
        assert lines_of(str(file)) == ["json://x", "json://y"]
    for mode in (0o644, 0o604, 0o660, 0o602):
        file.chmod(mode)
        with pytest.raises(BadSecret, match="is open to others"):
            lines_of(str(file))
    if os.geteuid() == 0:
        file.chmod(0o640)
        os.chown(file, 0, 12_345)
        with pytest.raises(BadSecret, match="is open to others"):
            lines_of(str(file))
        os.chown(file, 12_345, 0)
        with pytest.raises(BadSecret, match="is open to others"):
            lines_of(str(file))


def test_what_is_no_file_of_secrets_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").write_text("# nothing\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "long").write_text("x" * 70_000)
    (tmp_path / "many").write_text("\n".join(f"json://{n}" for n in range(40)))
    for path in tmp_path.iterdir():
        if not path.is_symlink():
            path.chmod(0o600)
    wrong = {"link": "is a symbolic link", "fifo": "is not a file", "empty": "names nothing", "binary": "is not UTF-8", "long": "is larger",
             "many": "has more than 32", "gone": "cannot be read"}  # fmt: skip
    for name, why in wrong.items():
        with pytest.raises(BadSecret, match=why):
            lines_of(str(tmp_path / name))
