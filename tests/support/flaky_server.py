"""A web server of a folder that can break off answers and refuse requests."""

from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class Flaky(SimpleHTTPRequestHandler):
    """Breaks off every other answer with a body in the middle, refuses every fifth request."""

    @property
    def ours(self) -> "Server":
        assert isinstance(self.server, Server)
        return self.server

    def log_message(self, format: str, *args: object) -> None:
        """Not to the terminal."""

    def do_HEAD(self) -> None:
        self.ours.asked.append(("HEAD", urlsplit(self.path).path))
        super().do_HEAD()

    def do_GET(self) -> None:
        self.ours.asked.append(("GET", urlsplit(self.path).path))
        turn = len(self.ours.asked)
        path = Path(self.translate_path(self.path))
        if not path.is_file() or not self.ours.flaky:
            super().do_GET()
        elif turn % 5 == 0:
            self.send_error(503)
        elif turn % 2:
            content = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            super().do_GET()


class Server(ThreadingHTTPServer):
    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, str]] = []
        self.flaky = False
        super().__init__(("127.0.0.1", 0), lambda *args: Flaky(*args, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is no news."""

    def whole_gets(self, path: str) -> int:
        return self.asked.count(("GET", path))
