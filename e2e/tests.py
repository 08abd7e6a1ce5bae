"""Which tests are the gate's: those that a kernel can make fail. One list, with a reason for each file left out."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("tests/unit/nft", "tests/netns")
FILES = ("tests/fuzz/test_fuzz_wire.py",)
LEFT_OUT = {
    "test_abuse_kernel.py": "attacks on the portal, whose attackers have half a second for TLS",
    "test_cli.py": "the command line: words, exit codes and files above the wire",
    "test_demo.py": "the demo shows what other tests assert",
    "test_lab.py": "the lab's own tests: tools, not the product",
    "test_people_cli.py": "people are state of the portal's",
    "test_setup.py": "questions at a terminal; what it writes is what other tests load",
}


def gate_tests() -> list[str]:
    """Paths from the checkout's top; those that start whole daemons, which takes emulation long, come last."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).glob("test_*.py")]
    found += [ROOT / name for name in FILES]
    kept = [path for path in found if path.name not in LEFT_OUT and path.exists()]
    kept.sort(key=lambda path: ("lab.gateway" in path.read_text("utf-8"), path))
    return [str(path.relative_to(ROOT)) for path in kept]


if __name__ == "__main__":
    print(*gate_tests())
