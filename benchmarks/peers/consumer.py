"""FastStream + asyncpg: a consumer group that checks and inserts, by batches or message by message.

python -m benchmarks.peers.consumer <entries a read; 1 for message by message> <until this many rows>
"""

import asyncio
import os
import sys

import asyncpg
from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub

from benchmarks.peers.checks import INSERT, Signal
from benchmarks.stage import STREAM

SIZE, EXPECTED = int(sys.argv[1]), int(sys.argv[2])

broker = RedisBroker(os.environ["CORE_REDIS_URL"], logger=None)
app = FastStream(broker, logger=None)
state: dict[str, asyncpg.Pool] = {}
done = 0


def settled(count: int) -> None:
    global done
    done += count
    if done >= EXPECTED:
        app.exit()


if SIZE > 1:
    source = StreamSub(STREAM, group="peer", consumer="peer", batch=True, max_records=SIZE, last_id=">")

    @broker.subscriber(stream=source)
    async def insert_many(messages: list[dict[str, object]]) -> None:
        rows = [Signal.model_validate_json(str(message["payload"])).row("redis") for message in messages]
        async with state["pool"].acquire() as connection, connection.transaction():
            await connection.executemany(INSERT, rows)
        settled(len(rows))

else:
    single = StreamSub(STREAM, group="peer", consumer="peer", max_records=100, last_id=">")

    @broker.subscriber(stream=single)
    async def insert_one(message: dict[str, object]) -> None:
        await state["pool"].execute(INSERT, *Signal.model_validate_json(str(message["payload"])).row("redis"))
        settled(1)


@app.on_startup
async def connect() -> None:
    state["pool"] = await asyncpg.create_pool(os.environ["CORE_DB_URL"], min_size=1, max_size=4)


@app.after_startup
async def end_at_once_if_nothing_is_expected() -> None:
    settled(0)


if __name__ == "__main__":
    asyncio.run(app.run())
