"""Draws static/icon.svg as the PNGs that home screens want: `python -m lab.icons` after a change of the mark.

icon-192 and icon-512 are the mark itself, icon-180 and icon-mask fill their square, because iOS and Android cut
it to a shape of their own; of the last Android may take away all but a circle of 80 % of its width.
"""

import base64
import struct
import zlib
from collections import Counter
from math import dist
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

STATIC = Path(__file__).parents[1] / "static"
# name: pixels, how much of the width the drawing takes, whether the ground fills the square
ICONS = {"icon-180": (180, 1.0, True), "icon-192": (192, 1.0, False), "icon-512": (512, 1.0, False), "icon-mask": (512, 0.85, True)}
_DRAW = """
async ([svg, size, share]) => {
  const image = new Image(size, size);
  image.src = "data:image/svg+xml;base64," + btoa(svg);
  await image.decode();
  const canvas = new OffscreenCanvas(size, size);
  const paper = canvas.getContext("2d");
  const inset = size * (1 - share) / 2;
  if (share < 1) {
    paper.fillStyle = svg.match(/fill="(#[0-9a-f]{6})"/)[1];
    paper.fillRect(0, 0, size, size);
  }
  paper.drawImage(image, inset, inset, size - 2 * inset, size - 2 * inset);
  return btoa(Array.from(paper.getImageData(0, 0, size, size).data, (byte) => String.fromCharCode(byte)).join(""));
}
"""


_NEAR = 24.0  # so far from each other, on no ground, are colours that are worth a place each
_Colour = tuple[int, ...]


def _on_nothing(colour: _Colour) -> tuple[float, ...]:
    red, green, blue, share = colour
    return red * share / 255, green * share / 255, blue * share / 255, share


def _apart(one: _Colour, other: _Colour) -> float:
    return dist(_on_nothing(one), _on_nothing(other))


def png(size: int, rgba: bytes) -> bytes:
    """A square with a palette of at most 16: the drawing's own colours, and of those of its edges, which are many, the nearest."""
    drawn = [tuple(rgba[at : at + 4]) for at in range(0, len(rgba), 4)]
    palette: list[_Colour] = []
    for colour, _ in Counter(drawn).most_common(16):
        if all(_apart(colour, taken) >= _NEAR for taken in palette):
            palette.append(colour)
    palette.sort(key=lambda colour: colour[3])
    nearest = {colour: min(range(len(palette)), key=lambda at: _apart(palette[at], colour)) for colour in set(drawn)}
    pixels = [nearest[colour] for colour in drawn]
    pairs = bytes(high << 4 | low for high, low in zip(pixels[::2], pixels[1::2], strict=True))
    lines = (pairs[at : at + size // 2] for at in range(0, len(pairs), size // 2))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", size, size, 4, 3, 0, 0, 0)),
            (b"PLTE", b"".join(bytes(colour[:3]) for colour in palette)),
            (b"tRNS", bytes(colour[3] for colour in palette if colour[3] < 255)),
            (b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines), 9)),
            (b"IEND", b""),
        )
    )


def draw(page: Page, svg: str, size: int, share: float, *, full: bool) -> bytes:
    """The PNG of a drawing."""
    if full:
        svg = svg.replace(' rx="15"', "")
    return png(size, base64.b64decode(page.evaluate(_DRAW, [svg, size, share])))


def main() -> None:
    """Write them."""
    svg = (STATIC / "icon.svg").read_text("utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for name, (size, share, full) in ICONS.items():
            data = draw(page, svg, size, share, full=full)
            (STATIC / f"{name}.png").write_bytes(data)
            print(f"{name}.png: {len(data)} bytes")
        browser.close()


if __name__ == "__main__":
    main()
