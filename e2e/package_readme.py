"""The README's commands under "Install", and a root shell at a terminal into which they are typed."""

import re
from pathlib import Path

from e2e.container import Container
from lab.process import LabError
from lab.terminal import Terminal

_SECTION = "Install"
_PROMPT = "[gateway] # "


def commands(readme: Path) -> list[str]:
    """Those of the section's indented blocks and fences, in their order, without what a `#` says of them. LabError."""
    found = re.search(rf"(?ms)^## {_SECTION}\n(.*?)(?=^## |\Z)", readme.read_text("utf-8"))
    if found is None:
        raise LabError(f"{readme} has no section {_SECTION!r}")
    lines = [match[1] for match in re.finditer(r"(?m)^ {4}(\S.*)$", found[1])]
    return [re.split(r"\s+# ", line)[0].strip() for line in lines]


class Shell:
    """bash at a terminal of the container's own, as after a login."""

    def __init__(self, container: Container) -> None:
        self.terminal: Terminal = container.terminal(
            "script", "--quiet", "--return", "--command", "bash --noprofile --norc --noediting -i", "/dev/null"
        )
        # the quotes: the line itself, which the terminal shows, is not taken for a prompt
        self.terminal.type(f"PS1='{_PROMPT[:3]}''{_PROMPT[3:]}'")
        self.terminal.read(_PROMPT)

    def begin(self, command: str) -> None:
        """Type a command and let it run."""
        self.terminal.type(command)

    def end(self, timeout: float = 30.0) -> tuple[int, str]:
        """Wait for the prompt; the command's exit code and what was shown since the last read."""
        shown = self.terminal.read(_PROMPT, timeout)
        self.terminal.type("echo code: $?")
        code = re.search(r"code: (\d+)\n", self.terminal.read(_PROMPT))
        if code is None:
            raise LabError("the shell tells no exit code")
        return int(code[1]), shown.removesuffix(_PROMPT)

    def run(self, command: str, timeout: float = 30.0) -> tuple[int, str]:
        """Type a command and wait for its end."""
        self.begin(command)
        return self.end(timeout)

    def close(self) -> None:
        """Leave it."""
        self.terminal.close()
