"""A healthy system asks history nothing but heads."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

from tests.integration.fanout.hubs import StartAnyHub
from tests.integration.fanout.stack import ids_of, stack
from tests.support.processes import free_ports, procfile_command, ready_or_say_why


async def test_four_api_processes(
    migrated_database_url: str, redis_url: str, start_any_hub: StartAnyHub, tmp_path: Path, name: str
) -> None:
    """Four API processes that write to the same feeds in turns publish in either order, and no heal is asked for."""
    async with stack(migrated_database_url, redis_url, start_any_hub, tmp_path) as running:
        with ExitStack() as others:
            ports = [running.environ["API_PORT"]]
            for n in range(3):
                environ = {**running.environ, **free_ports()}
                api = others.enter_context(procfile_command("api", environ, tmp_path / f"api{n}.log"))
                ready_or_say_why(api, environ["API_ADMIN_PORT"])
                ports.append(environ["API_PORT"])
            names = [f"{name}-{n}" for n in range(4)]
            for each in names:
                await running.append(each, 1)
            sockets = [await running.connect(each, after=1) for each in names]

            async def worker(port: str, turn: int) -> None:
                for n in range(100):
                    path = f"/api/v1/runs/{names[(n + turn) % 4]}-run/events"
                    async with running.session.post(f"http://127.0.0.1:{port}{path}", json={"type": "step"}) as answer:
                        assert answer.status == 201

            await asyncio.gather(*(worker(port, turn) for port in ports for turn in (0, 1)))
            for own in sockets:
                assert await ids_of(own, 200) == list(range(2, 202))
                await own.close()
            jumps, heals = running.hub.metric("fanout_jumps_total"), running.heals()
    assert heals == 0, f"{heals} heals, {jumps} jumps"
