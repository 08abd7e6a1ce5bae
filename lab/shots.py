"""Pictures of every page and state, for people to look through: `./dev shots [name …]` makes build/shots/index.html."""

import argparse
import html
import sys
import time
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page

from lab.browser import chromium
from lab.gallery import DESKTOP, PHONE, PLACES, Place, chosen, visit
from lab.household import Household

Scheme = Literal["light", "dark"]
WIDTHS = {"phone": PHONE, "desktop": DESKTOP}
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
LANGUAGES = ("en", "fr")
FOLDER = Path(__file__).resolve().parent.parent / "build" / "shots"


def main() -> None:
    """Take the pictures that are asked for."""
    parser = argparse.ArgumentParser(prog="./dev shots", description=__doc__)
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="one of: " + " ".join(place.name for place in PLACES)
    )
    parser.add_argument(
        "--language", metavar="CODE", action="append", help="instead of English and French; repeat it"
    )
    parser.add_argument(
        "--folder", metavar="DIR", type=Path, default=FOLDER, help="where to put them (%(default)s)"
    )
    options = parser.parse_args()
    try:
        places = chosen(options.names)
    except LookupError as error:
        parser.error(str(error))
    options.folder.mkdir(parents=True, exist_ok=True)
    begin, missed = time.monotonic(), []
    with Household() as house, chromium(house.gateway.visitor.namespace) as browser:
        for place in places:
            for language in options.language or LANGUAGES:
                try:
                    with visit(browser, house, place, language) as page:
                        _take(page, place, language, options.folder)
                except Exception as error:  # noqa: BLE001 (one page that cannot be reached does not hide the others)
                    missed.append(place.name)
                    print(f"{place.name} ({language}): {error}", file=sys.stderr)
    pictures = _index(options.folder)
    print(f"{pictures} pictures in {options.folder}/index.html, {time.monotonic() - begin:.0f} s")
    if missed:
        sys.exit(f"not reached: {' '.join(sorted(set(missed)))}")


def _take(page: Page, place: Place, language: str, folder: Path) -> None:
    for width, size in WIDTHS.items():
        page.set_viewport_size(size)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            path = folder / f"{place.name}.{language}.{width}.{scheme}.png"
            page.screenshot(path=path, full_page=True, animations="disabled")


def _index(folder: Path) -> int:
    """A page with every picture that is there; their number."""
    files = sorted(folder.glob("*.*.*.*.png"))
    order = {place.name: number for number, place in enumerate(PLACES)}
    names = sorted(
        {file.name.partition(".")[0] for file in files}, key=lambda name: order.get(name, len(order))
    )
    parts = [
        "<!doctype html><meta charset=utf-8><title>SafeIP: every page</title>",
        "<style>body{font:15px sans-serif} div{display:flex;gap:.5rem;overflow-x:auto} img{height:420px}</style>",
        "<p>" + " · ".join(f"<a href='#{name}'>{html.escape(name)}</a>" for name in names),
    ]
    for name in names:
        shown = "".join(
            f"<a href='{file.name}'><img loading=lazy src='{file.name}' alt='{file.stem}' title='{file.stem}'></a>"
            for file in files
            if file.name.startswith(f"{name}.")
        )
        parts.append(f"<h2 id='{name}'>{html.escape(name)}</h2><div>{shown}</div>")
    (folder / "index.html").write_text("\n".join(parts), "utf-8")
    return len(files)


if __name__ == "__main__":
    main()
