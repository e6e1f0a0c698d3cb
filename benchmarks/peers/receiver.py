"""FastAPI + asyncpg: the same checks, one INSERT a request, committed before the answer."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from fastapi import FastAPI, HTTPException, Request, Response

from benchmarks.peers.checks import INSERT, Signal, verified

SECRET = os.environ["CORE_EVENT_WEBHOOK_SECRET"]


@asynccontextmanager
async def pool(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["CORE_DB_URL"], min_size=8, max_size=16) as connections:
        app.state.pool = connections
        yield


app = FastAPI(lifespan=pool)


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/api/signals", status_code=202)
async def receive(request: Request) -> Any:
    body = await request.body()
    if not verified(SECRET, request.headers, body):
        raise HTTPException(401)
    signal = Signal.model_validate_json(body)
    status = await request.app.state.pool.execute(INSERT, *signal.row("webhook"))
    new = status.endswith("1")
    return Response(
        b'{"status":"accepted"}' if new else b'{"status":"duplicate"}',
        202 if new else 200,
        media_type="application/json",
    )
