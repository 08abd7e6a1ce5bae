#!/usr/bin/python3
"""A Telegram bot: whoever of CHATS writes /open gets a link that opens the service once. Needs the scope links."""

import json
import os
import time
import urllib.request
from pathlib import Path

from way import Refused, ask

SERVICE = "cloud"
CHATS = {int(number) for number in os.environ.get("BOT_CHATS", "").split()}
"""Of whom: the numbers of their chats. Everybody can write to a bot."""
TELEGRAM = os.environ.get("BOT_API", "https://api.telegram.org")


def telegram(method, **body):
    """Call a method of the Bot API; its result."""
    token = Path(os.environ["BOT_TOKEN_FILE"]).read_text().strip()
    request = urllib.request.Request(f"{TELEGRAM}/bot{token}/{method}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=90) as answer:
        return json.load(answer)["result"]


def answer(message):
    """What to say to a message, if anything."""
    if message.get("chat", {}).get("id") not in CHATS or message.get("text") != "/open":
        return None
    name = message["chat"].get("first_name", "chat")
    try:
        link = ask("POST", "/links", label=f"Chat with {name[:20]}", services=[SERVICE], uses=1, expires="15m")
    except (Refused, OSError) as problem:
        return f"That did not work: {problem}"
    return f"Open this within a quarter of an hour, on the device that wants in: {link['url']}"


def main():
    """For ever."""
    seen = 0
    while True:
        try:
            for update in telegram("getUpdates", offset=seen + 1, timeout=60):
                seen = update["update_id"]
                if text := answer(update.get("message", {})):
                    telegram("sendMessage", chat_id=update["message"]["chat"]["id"], text=text)
        except OSError:  # the Internet is away for a while
            time.sleep(10)


if __name__ == "__main__":
    main()
