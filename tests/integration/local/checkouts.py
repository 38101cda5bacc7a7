"""A checkout whose services are small commands, to see what `./dev run` does with them."""

import shutil
from pathlib import Path

from deploy.local.place import CHECKOUT
from tests.support.processes import Program, clean_environ, free_ports

SERVICE = r"""
import http.server, os, signal, sys, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

def leave(*_):
    os.write(1, b"leaving\n")  # in one piece: a shell beside us may write too
    threading.Thread(target=server.shutdown).start()

name = sys.argv[1]
server = http.server.HTTPServer(("127.0.0.1", int(os.environ[name + "_ADMIN_PORT"])), Handler)
signal.signal(signal.SIGTERM, leave)
shared = (os.environ.get("API_REUSE_PORT"), os.environ.get("FANOUT_REUSE_PORT"))
print("admin", os.environ[name + "_ADMIN_PORT"], "public", os.environ[name + "_PORT"], "shared", *shared, flush=True)
print("serving", os.environ.get("PORT", "no PORT"), os.environ["FANOUT_HISTORY_URL"], flush=True)
server.serve_forever()
"""
# Stores that nobody asks: most of these tests are about the services, and servers take a second each to make.
GIVEN = {"DATABASE_URL": "postgresql://u:secret@db.example/x", "REDIS_URL": "redis://cache.example"}
PROCFILE = {
    "release": "echo migrated",
    "api": "python service.py API",
    "fanout": "python service.py FANOUT",
}


class Checkout:
    """A checkout whose services are small commands; `run` starts `./dev run` in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / ".data"
        shutil.copytree(CHECKOUT / "deploy", path / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dev", "requirements.lock"):
            shutil.copy2(CHECKOUT / name, path / name)
        (path / ".venv").symlink_to(CHECKOUT / ".venv")
        (path / "service.py").write_text(SERVICE)
        self.procfile()

    def procfile(self, **commands: str) -> None:
        """Write the Procfile, some of its commands changed."""
        lines = (f"{name}: {command}\n" for name, command in {**PROCFILE, **commands}.items())
        (self.path / "Procfile").write_text("".join(lines))

    def run(self, *arguments: str, **names: str) -> "Program":
        """`./dev run` with its output in a file."""
        environ = clean_environ(**{**free_ports(), "PORT": "1", **names})
        log = self.path / f"run-{len(list(self.path.glob('run-*')))}.log"
        return Program([self.path / "dev", "run", *arguments], environ, log, self.path)
