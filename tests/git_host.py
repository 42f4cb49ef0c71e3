"""A host of git repositories over HTTP, with user and password: git's own `http-backend` behind a small server."""

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class GitHost(ThreadingHTTPServer):
    """Serves all repositories in a folder, to one user. `logins`: every login that was tried, right or wrong.

    What is asked for below `/moved/` is to be found at `elsewhere`, another host's address.
    """

    daemon_threads = True

    def __init__(self, folder: Path, user: str, password: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder = folder
        self.login = f"{user}:{password}"
        self.logins: list[str] = []
        self.elsewhere = ""

    @property
    def place(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_port}"

    def url(self, path: str, login: str = "") -> str:
        """The address of a repository, with the login that is written into it."""
        return f"http://{login}{'@' if login else ''}{self.place}/{path}"


@contextmanager
def git_host(folder: Path, user: str, password: str) -> Iterator[GitHost]:
    """A host that serves."""
    with GitHost(folder, user, password) as host:
        thread = threading.Thread(target=host.serve_forever, daemon=True)
        thread.start()
        yield host
        host.shutdown()
        thread.join()


class _Answer(BaseHTTPRequestHandler):
    server: GitHost

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["content-length"]))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        kind, _, encoded = self.headers.get("authorization", "").partition(" ")
        login = base64.b64decode(encoded).decode() if kind == "Basic" else ""
        if login:
            self.server.logins.append(login)
        path, _, query = self.path.partition("?")
        if path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", f"{self.server.elsewhere}{self.path.removeprefix('/moved')}")
        elif login != self.server.login:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
        else:
            self._backend(path, query, body)
            return
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _backend(self, path: str, query: str, body: bytes) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "REMOTE_USER": self.server.login.partition(":")[0],
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=env, stdout=subprocess.PIPE, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass
