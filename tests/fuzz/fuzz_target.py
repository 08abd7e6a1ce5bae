"""What makes a check of bytes a test: its corpus first, then whatever hypothesis thinks of.

`corpus/TARGET/` holds one input a file, named for what it is. An input that fails is written to `corpus/TARGET/found`,
each smaller one over the last: rename it for what it is about, mend the defect, and commit both.
"""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

CORPUS = Path(__file__).with_name("corpus")
FOUND = "found"


def corpus(target: str) -> dict[str, bytes]:
    """The inputs that are kept, by name."""
    return {file.name: file.read_bytes() for file in sorted((CORPUS / target).iterdir())}


def fuzzed(
    target: str, inputs: SearchStrategy[bytes], *, share: float = 1.0
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The decorated function is called with `data`; its docstring is the invariant. Raises nothing for any input.

    `share`: how many inputs it gets, as a share of the profile's.
    """

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        assert check.__doc__, "say in one sentence what always holds"

        @functools.wraps(check)
        def run(*args: Any, data: bytes, **kwargs: Any) -> None:
            try:
                check(*args, data=data, **kwargs)
            except Exception:
                (CORPUS / target / FOUND).write_bytes(data)
                raise

        test = given(data=inputs)(run)
        for kept in reversed(corpus(target).values()):  # the last decorator is the first example
            test = example(data=kept)(test)
        # A running portal is shared between inputs on purpose.
        return settings(
            max_examples=max(1, int(settings().max_examples * share)),
            suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture],
        )(test)

    return decorate


@st.composite
def spoilt(draw: st.DrawFn, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """A good input with up to eight places changed: cut, doubled, overwritten, something put in."""
    data = bytearray(draw(st.sampled_from(list(seeds))))
    put_in = st.one_of(st.binary(max_size=4), st.sampled_from([*words, b"\0", b"\xff", b"\r\n", b" "]))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, min(16, len(data) - at)))
        match draw(st.sampled_from("cdop")):
            case "c":
                del data[at : at + length]
            case "d":
                data[at:at] = data[at : at + length] * draw(st.sampled_from((1, 2, 500)))
            case "o":
                data[at : at + length] = draw(put_in)
            case _:
                data[at:at] = draw(put_in)
    return bytes(data)


def json_values() -> SearchStrategy[Any]:
    """What JSON can say, with what breaks readers of it: lone surrogates, huge numbers, infinity."""
    numbers = st.one_of(
        st.integers(-(1 << 70), 1 << 70), st.floats(), st.sampled_from([0, 1, -1, 60, 1 << 53, 10**400])
    )
    texts = st.one_of(
        st.text(st.characters(), max_size=12),
        st.sampled_from(["", "cloud", "\ud800", "x" * 300, "203.0.113.7", "12h", "\N{ARABIC-INDIC DIGIT THREE}h", "\0", "true", "link:aaaaaa"]),
    )
    leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
        max_leaves=8,
    )


def json_objects(**keys: SearchStrategy[Any]) -> SearchStrategy[bytes]:
    """Objects with some of these keys, each with the value it wants or with any other."""
    values = json_values()
    chosen = st.fixed_dictionaries({}, optional={key: st.one_of(wanted, values) for key, wanted in keys.items()})
    more = st.one_of(st.just({}), st.dictionaries(st.text(max_size=6), values, max_size=1))
    return st.builds(
        lambda some, others, ascii_: _dumps({**others, **some}, ascii_), chosen, more, st.booleans()
    )


def _dumps(value: object, ascii_: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_).encode(errors="surrogatepass")
