"""What a client needs to know before its first socket: where the hub is."""

from orchestrator_api import __version__
from orchestrator_api.errors import BadRequest
from orchestrator_api.peers import Proxies, host_of
from orchestrator_api.web import Answer, Request, json_response


class Config:
    """The call that tells it. hub_url: the hub's, as the operator gave it; None: our own host, at hub_port.

    proxies: who is believed about how a client came.
    """

    def __init__(self, hub_url: str | None, hub_port: int, proxies: Proxies) -> None:
        self._hub_url = hub_url
        self._hub_port = hub_port
        self._proxies = proxies

    async def config(self, request: Request) -> Answer:
        """GET /config. Not to be stored: who moves the hub wants it to be asked for again."""
        body = {"hub": self._hub_url or self._guess(request), "version": __version__}
        return json_response(body, headers={"Cache-Control": "no-store"})

    def _guess(self, request: Request) -> str:
        """Returns the hub's URL on the host that the client reached us by. Raises BadRequest (400)."""
        host = host_of(request.headers.get("Host", ""))  # one at most: aiohttp refuses a request with two
        if host is None:
            raise BadRequest("Host", "must be a host name, an IPv4 or an [IPv6] address, and a port", status=400)
        secure = self._proxies.is_https(request.remote or "", request.headers.getall("X-Forwarded-Proto", []))
        return f"{'wss' if secure else 'ws'}://{host}:{self._hub_port}"
