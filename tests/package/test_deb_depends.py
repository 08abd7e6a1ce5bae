"""What the package depends on: what the code imports and runs, no less and no more; ./dev installs the same."""

import ast
import re
import subprocess
import sys

from lab import checkout, deb

OWN = {"access", "nft", "portal", "safeip", "teller"}
# not seen in an import, a library's name or a unit
BESIDES = {
    "cracklib-runtime",  # the dictionary that libcrack2 looks words up in
    "python3",
    "systemd",  # the accounts and the units; debhelper's
}
ESSENTIAL = {"grep"}  # every Debian has it
PROGRAMS = {"openssl": "/usr/bin/openssl", "systemctl": "/bin/systemctl", "journalctl": "/bin/journalctl"}
DEMO = {"ca-certificates", "iproute2", "netbase"}  # in ./dev's list for the demo and the lab


def depends(built: deb.Built) -> set[str]:
    done = subprocess.run(["dpkg-deb", "--field", str(built.deb), "Depends"], capture_output=True, text=True, check=True)
    return {re.split(r"[ :|(]", part.strip())[0] for part in done.stdout.split(",")}


def sources() -> list[ast.Module]:
    return [ast.parse((checkout.ROOT / name).read_text("utf-8")) for name in checkout.files() if re.fullmatch(r"src/.*\.py", name)]


def imported() -> set[str]:
    names: set[str] = set()
    for module in sources():
        for node in ast.walk(module):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - OWN - set(sys.stdlib_module_names)


def libraries() -> set[str]:
    """Those that ctypes loads by name."""
    found = re.findall(r'CDLL\("([^"]+)"', "\n".join(path.read_text("utf-8") for path in (checkout.ROOT / "src").rglob("*.py")))
    return set(found) - {"libgcc_s.so.1"}  # every program's


def run() -> set[str]:
    """The first words of command lines: in the units, and lists and calls in the code."""
    units = "\n".join(path.read_text("utf-8") for path in (checkout.ROOT / "packaging" / "systemd").rglob("*.*") if path.is_file())
    words = set(re.findall(r"(?m)^Exec\w+=(/\S+)", units)) - {"/usr/sbin/safeip"}
    texts = {
        node.value for module in sources() for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return words | {path for name, path in PROGRAMS.items() if name in texts}


def owner(*paths: str) -> set[str]:
    """The packages that files belong to, as dpkg knows them, by whichever of two names."""
    named = {path: (path, path.removeprefix("/usr"), f"/usr{path}") for path in paths}
    every = [name for names in named.values() for name in names]
    done = subprocess.run(["dpkg-query", "--search", *every], capture_output=True, text=True, check=False)
    owners = {path: package.split(":")[0] for package, _, path in (line.partition(": ") for line in done.stdout.splitlines())}
    found = {path: {owners[name] for name in names if name in owners} for path, names in named.items()}
    assert [path for path, packages in found.items() if not packages] == [], "these belong to no package"
    return set().union(*found.values())


def test_depends_is_what_the_code_needs(built: deb.Built) -> None:
    ask = "import importlib.util, sys; print(*(importlib.util.find_spec(name).origin for name in sys.argv[1:]), sep='\\n')"
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", ask, *imported()], capture_output=True, text=True, check=True)
    found = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    shared = [re.search(rf"{re.escape(name)} .*=> (\S+)", found) for name in libraries()]
    assert all(shared)
    needed = owner(*done.stdout.split(), *(match[1] for match in shared if match), *run())
    assert depends(built) == needed - ESSENTIAL | BESIDES


def test_dev_installs_what_the_package_depends_on(built: deb.Built) -> None:
    listed = re.search(r"(?ms)^runs=\((.*?)\)", (checkout.ROOT / "dev").read_text("utf-8"))
    assert listed
    assert set(listed[1].split()) == depends(built) - {"systemd"} | DEMO


def test_dev_installs_what_the_build_depends_on() -> None:
    control = (checkout.ROOT / "packaging/debian/control").read_text("utf-8")
    wanted = re.search(r"(?s)Build-Depends:(.*?)\n\S", control)
    assert wanted
    names = {re.split(r"[ (]", part.strip())[0] for part in wanted[1].split(",") if part.strip()}
    dev = set(re.findall(r"[\w-]+", (checkout.ROOT / "dev").read_text("utf-8")))
    provided = {"debhelper-compat": "debhelper", "dh-sequence-installsysusers": "debhelper", "dh-sequence-python3": "dh-python"}
    assert {provided.get(name, name) for name in names} - dev == set()
