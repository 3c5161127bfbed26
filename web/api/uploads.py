"""Pictures handed in, to start from, to resemble, or to paint a mask."""

from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request, Response

from jobs import exports
from jobs.exports import Export
from jobs.uploads import FORMATS
from web import files
from web.api.answers import NOT_FOUND, House, Who, may
from web.api.models import UploadView
from web.api.pictures import FOR_EVER, finished, stored_file
from web.permissions import Right

A_FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            f"image/{kind.lower()}": {"schema": {"type": "string", "format": "binary"}} for kind in FORMATS
        },
    }
}

router = APIRouter(tags=["uploads"])


@router.post("/uploads", status_code=201, openapi_extra=A_FILE, dependencies=[may(Right.DRAW)])
async def hand_in(request: Request, house: House, caller: Who, mask: bool = False) -> UploadView:
    """Hand in a picture: the body is the file. A parameter that is an image takes the answer's ``image``.

    A ``mask`` becomes black and white: what is white may change.
    """
    data = await request.body()
    upload = await anyio.to_thread.run_sync(lambda: house.hand_in(data, caller, mask=mask))
    return UploadView.of(upload)


@router.post("/jobs/{job_id}/upload", status_code=201, responses=NOT_FOUND, dependencies=[may(Right.DRAW)])
def hand_in_result(job_id: str, house: House, caller: Who) -> UploadView:
    """Hand in a finished picture, to begin another with it."""
    picture = exports.read(house.artifacts, finished(house, caller, job_id), Export.PNG)
    return UploadView.of(house.hand_in(picture, caller))


@router.get("/uploads/{image}", **stored_file("image/png", "The picture as it was kept"))
def uploaded(image: str, house: House, request: Request) -> Response:
    """A picture that was handed in."""
    name = house.uploads.name_of(image)
    return files.answer(
        house, request, name, kind="image/png", caching=FOR_EVER, saved_as=f"{image}.png", may_sign=False
    )
