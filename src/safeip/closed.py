"""closed.nft: what a unit loads at boot before there is a network (packaging/systemd/safeip-closed.service)."""

from pathlib import Path

from access import files
from nft import render
from nft.policy import Policy

_Stamp = tuple[int, int, int]


class Closed:
    """The file in the gate's directory. In mode "sets", where the admin's own ruleset closes, there is none."""

    def __init__(self, gate_dir: str) -> None:
        self.path = f"{gate_dir}/closed.nft"
        self._written: tuple[_Stamp | None, bytes] | None = None

    def write(self, policy: Policy) -> None:
        """Make the file say what the policy closes; one that says so already is not touched.

        Raises NotSaved, and then the old one stands. Blocks until the disk has it.
        """
        wanted = render.closed(policy).encode()
        if not wanted:
            self.remove()
        elif self._held() != wanted:
            files.replace(self.path, wanted)
            self._written = self._stamp(), wanted

    def remove(self) -> None:
        """From the next boot on nothing is closed before the daemon starts. Raises NotSaved."""
        try:
            Path(self.path).unlink(missing_ok=True)
        except NotADirectoryError:
            pass
        except OSError as error:
            raise files.NotSaved(self.path, error) from None

    def _held(self) -> bytes | None:
        if self._written is not None and self._written[0] == self._stamp():
            return self._written[1]  # known without reading, which the gate may not do once it is in its cell
        try:
            found = files.read(self.path)
        except files.StateError:  # whatever is there, the right one goes into its place
            return None
        if found is not None:
            self._written = self._stamp(), found
        return found

    def _stamp(self) -> _Stamp | None:
        try:
            found = Path(self.path).lstat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
