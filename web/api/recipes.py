"""What made a picture, read back from its file."""

from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request

from jobs.recipe import recipe_in
from web.api.answers import NOT_FOUND, may
from web.api.models import RecipeView
from web.permissions import Right

A_FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter(tags=["pictures"])


@router.post("/recipes", openapi_extra=A_FILE, responses=NOT_FOUND, dependencies=[may(Right.DRAW)])
async def read(request: Request) -> RecipeView:
    """What made a picture: the body is a file saved here, PNG, GIF, WebP, MP4 or a zip of frames."""
    data = await request.body()
    return RecipeView.model_validate(await anyio.to_thread.run_sync(recipe_in, data))
