"""Puts the API together: routes, problems told in one sentence, and the description that programs read."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.routing import Route

from jobs.presets import NOT_KEPT
from web import problems, studio
from web.api import house, jobs, people, pictures, presets, recipes, reports, uploads, votes, weights
from web.api.answers import PROBLEMS
from web.api.models import NewJob, NewPreset

ABOUT = """
Submit a prompt, follow the picture while it forms, fetch it, vote.

**Who you are.** Whoever made a job may cancel and delete it. A browser is known by a cookie. A program shows
a token with every request, `Authorization: Bearer sk_…`, which is made on the page *Account* and does what
its scopes say: `read`, `draw`, `vote`, `manage`. Where people need not sign in to have pictures drawn, it may
show a secret of its own choice instead, 16 to 256 letters, digits or any of `_-.~+/=`.

**What goes wrong** is told in one sentence: `{"error": "The prompt is empty: …"}`.
"""

SOMETHING_VISIBLE = r"[^\s\x00-\x1f\x7f-\x9f]"


def create_api() -> FastAPI:
    """The API of the studio that ``web.studio.use`` was given, to be mounted behind ``RememberPerson``."""
    api = FastAPIOffline(title="Studio", description=ABOUT, version="1", redoc_url=None, responses=PROBLEMS)
    for tag in (jobs, pictures, reports, recipes, uploads, presets, votes, weights, people, house):
        api.include_router(tag.router)
    _tell_problems(api)
    _describe_parameters(api)
    _serve_description(api)
    return api


def _tell_problems(api: FastAPI) -> None:
    for kind, status in problems.STATUS.items():
        api.add_exception_handler(kind, _telling(status))
    api.exception_handler(RequestValidationError)(_tell_invalid)
    api.exception_handler(HTTPException)(_tell_refused)
    api.exception_handler(Exception)(_tell_unknown)


def _telling(status: int) -> Callable[[Request, Exception], JSONResponse]:
    def tell(_request: Request, error: Exception) -> JSONResponse:
        headers = {"Retry-After": str(error.seconds)} if isinstance(error, problems.TooMuch) else None
        return JSONResponse({"error": str(error)}, status, headers)

    return tell


def _tell_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
    return JSONResponse({"error": " ".join(map(_sentence, error.errors()))}, 422)


def _tell_refused(_request: Request, error: HTTPException) -> JSONResponse:
    sentence = f"{error.detail}: /api/docs lists what there is."
    return JSONResponse({"error": sentence}, error.status_code, error.headers)


def _tell_unknown(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"error": problems.UNKNOWN}, 500)


def _sentence(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"][1:]) or "body"
    message = str(problem["msg"])
    return f"'{where}': {message[0].lower()}{message[1:]}."


def _describe_parameters(api: FastAPI) -> None:
    """Write the parameters of every generator that has weights out where a job or a preset is sent."""
    describe = api.openapi

    def openapi() -> dict[str, Any]:
        description = describe()
        generators = [g for g in studio.current().generators.values() if g.weights]
        for model, written_out in ((NewJob, _new_job), (NewPreset, _new_preset)):
            name = model.__name__
            written = {"title": name, "oneOf": [written_out(generator) for generator in generators]}
            description["components"]["schemas"][name] = written
        return description

    api.openapi = openapi  # type: ignore[method-assign]


def _serve_description(api: FastAPI) -> None:
    """Before FastAPI's own route, which would hold every request up while the studio is being opened."""

    def description(request: Request) -> JSONResponse:
        return JSONResponse({**api.openapi(), "servers": [{"url": request.scope["root_path"] or "/"}]})

    api.router.routes.insert(0, Route(str(api.openapi_url), description, include_in_schema=False))


def _new_job(generator: studio.Generator) -> dict[str, Any]:
    parameters = _parameters(generator)
    parameters["properties"]["prompt"]["format"] = "prompt"
    parameters["properties"]["weights"]["enum"] = [weights.name for weights in generator.weights]
    return {
        "type": "object",
        "title": generator.title,
        "description": generator.summary,
        "properties": {
            "generator": {"const": generator.name},
            "parameters": parameters | {"required": ["prompt"]},
            "count": NewJob.model_json_schema()["properties"]["count"],
        },
        "required": ["generator", "parameters"],
    }


def _new_preset(generator: studio.Generator) -> dict[str, Any]:
    parameters = _parameters(generator)
    for name in NOT_KEPT:
        del parameters["properties"][name]
    name = NewPreset.model_json_schema()["properties"]["name"]
    return {
        "type": "object",
        "title": generator.title,
        "properties": {
            "name": name | {"pattern": SOMETHING_VISIBLE},
            "generator": {"const": generator.name},
            "weights": {"enum": [weights.name for weights in generator.weights]},
            "parameters": parameters | {"required": []},
        },
        "required": ["name", "generator", "weights", "parameters"],
    }


def _parameters(generator: studio.Generator) -> dict[str, Any]:
    """The schema of the generator's spec, with what it refers to written out."""
    parameters = generator.spec.model_json_schema()
    definitions = parameters.pop("$defs", {})
    for name, field in parameters["properties"].items():
        if "$ref" in field:
            parameters["properties"][name] = definitions[field.pop("$ref").rsplit("/", 1)[-1]] | field
    return parameters
