"""A FastAPI service that chats and learns in the background.

    pip install fastapi uvicorn
    uvicorn service:app --app-dir examples
    curl -X POST localhost:8000/ana/today -d 'What is my oven called?'

The schedule lives as long as the app does: it starts after the server has forked its workers, and
stops within seconds. In a service of yours the user comes from the login, not the path.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from langchain.agents import create_agent

from plum_langchain import Plum, PlumMiddleware


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the home and consolidate in the background, until the app ends."""
    plum = Plum(os.environ.get("PLUM_HOME", "my-home"))
    schedule = plum.schedule(when_idle=600)
    app.state.agent = create_agent(plum.chat_model(), middleware=[PlumMiddleware(plum)])
    try:
        yield
    finally:
        await asyncio.to_thread(schedule.stop)
        plum.close()


app = FastAPI(lifespan=lifespan)


@app.post("/{user}/{thread}", response_class=PlainTextResponse)
async def chat(user: str, thread: str, request: Request) -> str:
    """Reply to a message of a user in a thread."""
    message = (await request.body()).decode()
    who = {"configurable": {"user_id": user, "thread_id": thread}}
    said = await request.app.state.agent.ainvoke({"messages": [("user", message)]}, who)
    return said["messages"][-1].text
