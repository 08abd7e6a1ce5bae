#!/usr/bin/python3
"""A page of another server (WSGI) with a button that opens a service for whoever presses it. Needs the scope grant:any.

The server in front of it asks for names and passwords (REMOTE_USER) and says whose address it is (REMOTE_ADDR). Behind a
reverse proxy let that server find the address; never take it from a header that the visitor can write.
"""

import html
from wsgiref.simple_server import make_server

from way import Refused, open_way

SERVICE = "cloud"
FORM = '<form method="post"><button>Let me in</button></form>'


def application(environ, start_response):
    """Show the button; open when it is pressed on this very page."""
    name, address = environ.get("REMOTE_USER"), environ["REMOTE_ADDR"]
    if not name:
        return page(start_response, "403 Forbidden", "Sign in first.")
    if environ["REQUEST_METHOD"] != "POST":  # a preview or a crawler opens nothing
        return page(start_response, "200 OK", FORM)
    if environ.get("HTTP_SEC_FETCH_SITE") != "same-origin":  # nor does another page's form
        return page(start_response, "403 Forbidden", "Press the button on this page.")
    try:
        grant = open_way(SERVICE, address, note=name)
    except (Refused, OSError) as problem:
        return page(start_response, "502 Bad Gateway", html.escape(str(problem)))
    return page(start_response, "200 OK", f"Open for {grant['address']} until {grant['expires_at']}.")


def page(start_response, status, text):
    """An answer."""
    start_response(status, [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")])
    return [f"<!DOCTYPE html><title>Let me in</title><p>{text}".encode()]


if __name__ == "__main__":
    make_server("127.0.0.1", 8081, application).serve_forever()
