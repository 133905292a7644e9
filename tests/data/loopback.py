"""A local HTTP server that answers as told: right, late, wrong, truncated, with an error, or not at all."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Answer(NamedTuple):
    """One answer: `cut` sends that many bytes of the body and hangs up; `drop` hangs up before a word; `late` waits first."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    late: float = 0.0
    cut: int | None = None
    drop: bool = False


class Asked(NamedTuple):
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


DROPPED = Answer(drop=True)
BUSY = Answer(status=503)
PAGE = Answer(b"<html><body>Log in to the network</body></html>", headers=(("Content-Type", "text/html"),))


class Loopback:
    """`with Loopback() as server:`; `server.say("/path", first, second)` serves the answers in turn and repeats the last.

    `server.answer` may be a function of `Asked` for everything that has no answers of its own; `server.seen` is every
    request, in order.
    """

    def __init__(self, answer: Callable[[Asked], Answer] | None = None) -> None:
        self.answer = answer or (lambda asked: Answer(status=404))
        self.said: dict[str, list[Answer]] = defaultdict(list)
        self.seen: list[Asked] = []
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.serve(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Loopback":
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def say(self, path: str, *answers: Answer) -> None:
        self.said[path] = list(answers)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        asked = Asked(handler.command, parts.path, dict(parse_qsl(parts.query)), dict(handler.headers), body)
        with self.lock:
            self.seen.append(asked)
            line = self.said.get(parts.path)
            answer = (line.pop(0) if len(line) > 1 else line[0]) if line else self.answer(asked)
        time.sleep(answer.late)
        handler.close_connection = True
        if answer.drop:
            return
        try:
            handler.send_response(answer.status)
            for name, value in {
                "Content-Length": str(len(answer.body)),
                "Connection": "close",
                **dict(answer.headers),
            }.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(answer.body[: answer.cut])
        except OSError:
            pass  # the client has gone: it had a shorter timeout than this answer was late
