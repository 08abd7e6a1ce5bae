"""What asks: HTTP routes, pages, API, the address that asks."""
