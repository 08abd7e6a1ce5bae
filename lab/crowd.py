"""A crowd that signs in at once, each from an address of their own: more than the portal checks passwords of."""

import contextlib
import http.client
import threading
from typing import Self
from urllib.parse import urlencode

from lab.household import Caller, Household
from lab.process import LabError

MANY = 48
_PAUSE_S = 0.01


class Crowd:
    """Signs in with wrong names for a `with` block, which begins once the portal says that it is too much."""

    def __init__(self, house: Household) -> None:
        self._caller: Caller = house.visitor(house.address())
        page = self._caller.get("/sign-in")
        token = next(form for form in page.forms if form.method == "POST").fields["form"]
        self._body = urlencode({"form": token, "password": "wrong password"})
        self._cookie = "; ".join(f"{name}={value}" for name, value in self._caller.cookies.items())
        self._enough, self._over = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._try, args=(number,), daemon=True) for number in range(MANY)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        if not self._enough.wait(30):
            self.__exit__()
            raise LabError("the portal never had too much to do")
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _try(self, number: int) -> None:
        tries = 0
        while not self._over.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException), self._caller.connection() as connection:
                while not self._over.is_set():
                    tries += 1
                    headers = {
                        "Content-Type": "application/x-www-form-urlencoded", "Cookie": self._cookie, "Origin": "null",
                        "Sec-Fetch-Site": "same-origin", "X-Forwarded-For": f"20.{number}.{tries >> 8 & 255}.{tries & 255}",
                    }  # fmt: skip
                    connection.request("POST", "/sign-in", f"{self._body}&name=nobody{number}x{tries}", headers)
                    with contextlib.closing(connection.getresponse()) as answer:
                        answer.read()
                    if answer.status == 503:
                        self._enough.set()
                        self._over.wait(_PAUSE_S)
