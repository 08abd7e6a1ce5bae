"""Texts that other people typed, made fit for a message or a line of a log."""

_LONGEST = 200


def clean(text: object) -> str:
    """One printable line of at most 200 characters; "@" mentions nobody in a chat."""
    line = "".join(char if char.isprintable() else "\ufffd" for char in str(text)[:_LONGEST])
    return line.replace("@", "@\N{WORD JOINER}")
