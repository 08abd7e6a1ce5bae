"""QR codes as part of a page."""

from markupsafe import Markup


def qr_code(text: str) -> Markup:
    """An inline SVG, dark on light whatever the page's colours are, because readers want it so."""
    import segno  # noqa: PLC0415 - in use on a few pages only

    svg = segno.make(text, error="m", micro=False).svg_inline(
        dark="#000", light="#fff", border=3, svgclass="qr", lineclass=None, omitsize=True, unit=None
    )
    return Markup(svg)  # noqa: S704 - drawn from modules, not from text
