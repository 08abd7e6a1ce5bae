"""The admin's pages."""

from portal import admin_bans, admin_blocked, admin_grants, admin_history, admin_people, admin_tokens
from portal.door import Door
from portal.site import Site

_PAGES = (admin_grants, admin_people, admin_blocked, admin_bans, admin_history, admin_tokens)


def add_routes(door: Door, site: Site) -> None:
    """Add what all of them answer."""
    for pages in _PAGES:
        pages.add_routes(door, site)
