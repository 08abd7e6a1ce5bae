"""The child that reports to AbuseIPDB."""

import http.client
import json
import sys
import time
from dataclasses import asdict
from urllib.parse import urlencode, urlsplit

from teller.abuse_answers import LONGEST_BODY, Answer, read_answer

WITHIN_S = 60.0
"""How long a batch of reports may take, in seconds."""

_PATIENCE_S = 15.0


def main() -> None:
    """Send the job's reports until one says that no more may follow; says {"report": place} and what came of it for each."""
    job = json.load(sys.stdin.buffer)
    for place, report in enumerate(job["reports"]):
        answer = _send(job["url"], job["key"], report)
        print(json.dumps({"report": place, **asdict(answer)}), flush=True)
        if answer.verdict in {"pause", "key"}:
            break


def _send(url: str, key: str, report: dict[str, str]) -> Answer:
    where = urlsplit(url)
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    connection = kind(where.netloc, timeout=_PATIENCE_S)
    target = (where.path or "/") + (f"?{where.query}" if where.query else "")
    headers = {"Key": key, "Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded", "User-Agent": "SafeIP"}
    try:
        connection.request("POST", target, urlencode(report), headers)
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return read_answer(answer.status, named, answer.read(LONGEST_BODY), time.time())
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Answer("pause", type(error).__name__)  # its text may hold the key, where that is no header's value
    finally:
        connection.close()
