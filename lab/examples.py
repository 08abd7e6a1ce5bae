"""The files of examples/, run with a lab's addresses, ports and files in place of theirs."""

from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """A text with other words; each that is to be replaced is there, or the test does not try what it says (AssertionError)."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def example(name: str, *pairs: tuple[str, str]) -> str:
    """The text of an example, such as `nginx.conf` or `relay/nginx.conf`, `replaced`."""
    return replaced((EXAMPLES / name).read_text("utf-8"), *pairs)
