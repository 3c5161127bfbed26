"""Files of the artifact store as answers: through this server in pieces, or by a link that the store signs.

Who may have a file is decided before, where its name is found.
"""

import re
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse

from jobs.records import Job
from store import Stored
from web.studio import Studio

SIGNED_SECONDS = 300
"""How long a signed link opens its file; browsers keep it a little shorter."""

_REMEMBERED_SECONDS = SIGNED_SECONDS - 60
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Unsatisfiable(ValueError):
    """The range asked for lies beyond the end of the file."""


def saved_name(job: Job, suffix: str) -> str:
    """Under which name a browser saves a file of a job: the prompt, as far as a file may be called so."""
    stem = re.sub(r"\W+", "-", job.prompt)[:60].strip("-") or "picture"
    return f"{stem}{suffix}"


def answer(
    house: Studio,
    request: Request,
    name: str,
    *,
    kind: str,
    caching: str,
    saved_as: str,
    save: bool = False,
    may_sign: bool = True,
) -> Response:
    """The file of that artifact name, or the part of it that is asked for.

    Args:
        house: whose store it is, and whether its links are signed.
        request: may ask for a range, or name the tag of what it has already.
        name: the file's full name.
        kind: its media type.
        caching: the Cache-Control of a file that comes through this server.
        saved_as: the name to save it by.
        save: whether a browser that is led here saves the file instead of showing it.
        may_sign: False for what a page's script reads, which may read nothing of another host.

    Raises:
        ArtifactNotFound: there is no such file.
        StoreError: the store cannot be read.
    """
    disposition = f"{'attachment' if save else 'inline'}; filename*=utf-8''{quote(saved_as, safe='')}"
    if may_sign and house.signs_links:
        link = house.artifacts.signed_link(name, seconds=SIGNED_SECONDS, kind=kind, disposition=disposition)
        if link is not None:
            remembered = f"private, max-age={_REMEMBERED_SECONDS}"
            return RedirectResponse(link, 307, {"Cache-Control": remembered})
    file = house.artifacts.look(name)
    tag = f'"{file.tag}"'
    headers = {"Cache-Control": caching, "ETag": tag, "Accept-Ranges": "bytes"}
    if tag in (known.strip() for known in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = disposition
    try:
        wanted = _range_asked_for(request, file, tag)
    except Unsatisfiable as error:
        return JSONResponse({"error": str(error)}, 416, {"Content-Range": f"bytes */{file.size}"})
    start, end = wanted or (0, file.size)
    headers["Content-Length"] = str(end - start)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    pieces = house.artifacts.stream(name, start, end)
    return StreamingResponse(pieces, 200 if wanted is None else 206, headers, kind)


def _range_asked_for(request: Request, file: Stored, tag: str) -> tuple[int, int] | None:
    """The first byte and the one after the last; None for all of it, also where several ranges are wanted."""
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if asked is None or asked[0] == "bytes=-" or request.headers.get("if-range", tag) != tag:
        return None
    first, last = asked.groups()
    if first == "":
        start, end = max(file.size - int(last), 0), file.size
    else:
        start, end = int(first), min(int(last) + 1, file.size) if last else file.size
        if last and int(last) < start:
            return None
    if start >= file.size:
        raise Unsatisfiable(f"The file has {file.size} bytes: ask for a range that begins before.")
    return start, end
