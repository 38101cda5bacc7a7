"""The API as one would write it in an afternoon: one transaction of four statements a request, behind the same server.

    PORT=8081 DATABASE_URL=postgresql://... python -m tests.bench.naive_api

`GET /empty` answers nothing at all: what the HTTP server alone can do.
"""

import asyncio
import os
import time

import asyncpg
import orjson
import uvloop
from aiohttp import web

SCHEMA = """
CREATE TABLE IF NOT EXISTS naive_feeds (username text PRIMARY KEY, last_id bigint NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS naive_runs (run_id text PRIMARY KEY, username text NOT NULL, status text NOT NULL,
    last_seq bigint NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS naive_events (username text, id bigint, run_id text, seq bigint, body text,
    PRIMARY KEY (username, id));
CREATE INDEX IF NOT EXISTS naive_events_run ON naive_events (run_id, seq);
"""
POOL = 16  # connections: more made it slower here


async def append(request: web.Request) -> web.Response:
    """POST /runs/{run_id}/events, one event."""
    run_id = request.match_info["run_id"]
    event = orjson.loads(await request.read())
    async with request.app["pool"].acquire() as connection, connection.transaction():
        run = await connection.fetchrow("SELECT username, status FROM naive_runs WHERE run_id = $1", run_id)
        if run is None:
            raise web.HTTPNotFound
        feed_id = await connection.fetchval(
            "UPDATE naive_feeds SET last_id = last_id + 1 WHERE username = $1 RETURNING last_id", run["username"]
        )
        seq = await connection.fetchval(
            "UPDATE naive_runs SET last_seq = last_seq + 1 WHERE run_id = $1 RETURNING last_seq", run_id
        )
        event |= {"id": feed_id, "seq": seq, "run_id": run_id, "username": run["username"], "timestamp": time.time()}
        await connection.execute(
            "INSERT INTO naive_events VALUES ($1, $2, $3, $4, $5)",
            run["username"], feed_id, run_id, seq, orjson.dumps(event).decode(),
        )  # fmt: skip
    return web.Response(
        body=orjson.dumps({"run_id": run_id, "events": [{"id": feed_id, "seq": seq}]}),
        content_type="application/json",
        status=201,
    )


async def create(request: web.Request) -> web.Response:
    """POST /runs."""
    body = orjson.loads(await request.read())
    async with request.app["pool"].acquire() as connection:
        await connection.execute(
            "INSERT INTO naive_feeds (username) VALUES ($1) ON CONFLICT DO NOTHING", body["username"]
        )
        await connection.execute("INSERT INTO naive_runs VALUES ($1, $2, 'running')", body["run_id"], body["username"])
    return web.Response(status=201)


async def empty(_: web.Request) -> web.Response:
    """GET /empty."""
    return web.Response()


async def main() -> None:
    """For ever."""
    app = web.Application()
    app["pool"] = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=POOL, max_size=POOL)
    await app["pool"].execute(SCHEMA)
    app.router.add_post("/runs", create)
    app.router.add_post("/runs/{run_id}/events", append)
    app.router.add_get("/empty", empty)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["PORT"]), backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
