"""Every attack that SECURITY.md names, tried; weights' files are in tests/weights/test_inert_pickle.py."""

import base64
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import streamlit as st
from fastapi.testclient import TestClient
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import WebSocketDenialResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from jobs.people import Identity, Role
from jobs.queue import LeaseLost
from jobs.records import Claim, Result
from settings import LimitSettings, Settings, WebSettings
from tests.web.conftest import RULES
from web import door, look, metrics, studio
from web.api import create_api
from web.headers import DescribeScripts
from web.health import Part
from web.limits import Limits
from web.permissions import Openness, Right, Rules
from web.person import COOKIE, person_of
from web.studio import Studio

Open = Callable[..., TestClient]
Draw = Callable[[str], None]
PUBLIC = Rules(Openness.PUBLIC)
SIGN_IN = Rules(Openness.SIGN_IN, visitors_draw=False, admins=frozenset({"https://idp.example ann"}))
SPEC = {"prompt": "a red circle", "steps": 1, "width": 64, "height": 64, "seed": 7}
JOB = {"generator": "vqgan_clip", "parameters": SPEC}
ADDRESS = "http://studio.example"


@pytest.fixture
def open_studio(house: Studio) -> Iterator[Open]:
    """The whole way in, as webapp.py builds it, around the API."""
    opened: list[TestClient] = []

    def open_studio(
        rules: Rules = PUBLIC,
        limits: LimitSettings | None = None,
        proxies: tuple[str, ...] = (),
        client: tuple[str, int] = ("203.0.113.7", 50000),
        url: str = ADDRESS,
    ) -> TestClient:
        settings = Settings(web=WebSettings(trusted_proxies=list(proxies)), limits=limits or LimitSettings())
        counting = Limits(settings.limits, rules)
        studio.use(lambda: replace(house, rules=rules, limits=counting))
        parts = {"database": Part("database", house.check_database)}
        app = Starlette(
            routes=[metrics.route(parts), Mount("/api", app=DescribeScripts(create_api()))],
            middleware=door.middleware(settings, rules, counting),
        )
        opened.append(TestClient(app, base_url=url, client=client))
        return opened[-1]

    yield open_studio
    for client in opened:
        client.close()


def another(client: TestClient, address: str = "198.51.100.9") -> TestClient:
    """Another person, at another address, in the same studio."""
    return TestClient(client.app, base_url=client.base_url, client=(address, 50000))


def ask_through(proxy: str, client: TestClient, forwarded: str) -> int:
    """Ask once, as somebody new; what uvicorn gets from its own machine seems to come from the last hop."""
    hop = forwarded.rpartition(", ")[2].removesuffix(":7").strip("[]")
    asking = another(client, hop if proxy == "127.0.0.1" else proxy)
    headers = {"X-Forwarded-For": forwarded, "X-Studio-Address": hop}
    return asking.get("/api/queue", headers=headers).status_code


def token(house: Studio, *scopes: str, person: str = "", role: Role = Role.MEMBER) -> dict[str, str]:
    identity = Identity("https://idp.example", "ann" if role is Role.ADMIN else "ben")
    house.members.greet(identity, role)
    _, secret = house.tokens.make(person or identity.person, "a test", scopes)
    return {"Authorization": f"Bearer {secret}"}


def png(size: tuple[int, int] = (64, 64)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return file.getvalue()


# --- names that lead elsewhere ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/../../etc/passwd/image.png",
        "/jobs/..%2f..%2f..%2fetc%2fpasswd/image.png",
        "/jobs/%2e%2e/image.png",
        "/jobs/x%00/image.png",
        "/uploads/..%2f..%2fstudio.db",
        "/uploads/%2e%2e",
        "/uploads/" + "0" * 63 + "%2f",
        "/static-offline-docs/..%2f..%2f..%2f..%2fetc%2fpasswd",
    ],
)
def test_no_name_leads_out_of_the_store(open_studio: Open, path: str) -> None:
    answer = open_studio().get("/api" + path)
    assert answer.status_code == 404
    assert b"root:" not in answer.content


@pytest.mark.parametrize("address", ["file:///etc/passwd", "http://169.254.169.254/", "../../etc/passwd"])
def test_no_parameter_makes_the_studio_fetch_an_address(open_studio: Open, address: str) -> None:
    body = {**JOB, "parameters": {**SPEC, "start_image": address}}
    assert open_studio().post("/api/jobs", json=body).status_code in (404, 422)


def test_only_admins_name_files_on_the_studios_machine(open_studio: Open, house: Studio) -> None:
    client = open_studio(replace(PUBLIC, manage_weights=True))
    answer = client.post("/api/weights/vqgan_imagenet_16384/import", json={"paths": ["/etc/passwd"]})
    assert answer.status_code == 403
    assert "an admin of the studio may" in answer.json()["error"]


# --- scripts in what people write ------------------------------------------------------------------------

HOSTILE = (
    '"><script>alert(1)</script>',
    "<img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</p></div><iframe src=//evil.example>",
    "&lt;script&gt;",
    "[a](javascript:alert(1)) ![b](//evil.example/x) :smile: :material/home: $x^2$ :red[c] www.evil.example",
)


class Tags(HTMLParser):
    """The tags of a page with the names of their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


@pytest.mark.parametrize("prompt", HOSTILE)
def test_a_script_in_a_prompt_is_text(open_studio: Open, house: Studio, draw: Draw, prompt: str) -> None:
    client = open_studio()
    asked = ({**JOB, "parameters": {**SPEC, "prompt": words}} for words in ("a", prompt))
    made = [client.post("/api/jobs", json=body) for body in asked]
    for job in made:
        draw(job.json()["id"])
    harmless, hostile = (house.queue.get(job.json()["id"]) for job in made)
    for html in (look.picture, look.row, look.byline, look.downloads):
        assert Tags(html(hostile)).found == Tags(html(harmless)).found
    answer = client.get(f"/api/jobs/{hostile.id}")
    assert answer.json()["prompt"] == prompt
    assert answer.headers["content-type"] == "application/json"


def test_files_are_served_as_what_they_are_and_can_do_nothing(
    open_studio: Open, house: Studio, draw: Draw
) -> None:
    client = open_studio()
    job = client.post("/api/jobs", json=JOB).json()
    draw(job["id"])
    image = client.post("/api/uploads", content=png()).json()["image"]
    for path, kind in (
        (f"/api/jobs/{job['id']}/image.png", "image/png"),
        (f"/api/jobs/{job['id']}/animation.gif", "image/gif"),
        (f"/api/uploads/{image}", "image/png"),
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "sandbox" in answer.headers["content-security-policy"]


# --- files that are not what they say --------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that unpacks to many."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def gif_of_many_frames() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("P", (300, 300), shade) for shade in range(200)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (bomb(50_000, 50_000), "million pixels"),
        (bomb(6_400, 6_400), "million pixels"),
        (bomb(2**31 - 1, 2**31 - 1), "million pixels"),
        (b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0;", "no picture"),
        (png()[:60], "no picture"),
        (b"", "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run", "no picture"),
        (b"BM" + bytes(60), "no picture"),
        (b"MZ\x90" + png(), "no picture"),
    ],
)
def test_a_file_that_is_no_picture_or_a_bomb_is_told(open_studio: Open, data: bytes, sentence: str) -> None:
    answer = open_studio().post("/api/uploads", content=data, headers={"Content-Type": "image/png"})
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]


def test_of_an_animation_one_frame_is_kept(open_studio: Open) -> None:
    client = open_studio()
    image = client.post("/api/uploads", content=gif_of_many_frames()).json()["image"]
    kept = Image.open(io.BytesIO(client.get(f"/api/uploads/{image}").content))
    assert (kept.format, kept.size, getattr(kept, "n_frames", 1)) == ("PNG", (300, 300), 1)


def test_a_picture_is_kept_upright_without_what_its_camera_noted(open_studio: Open) -> None:
    noted = Image.Exif()
    noted[0x0112], noted[0x010F] = 6, "a camera at 52.5 N 13.4 E"
    file = io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(file, "JPEG", exif=noted, comment=b"secret")
    client = open_studio()
    image = client.post("/api/uploads", content=file.getvalue()).json()["image"]
    kept = client.get(f"/api/uploads/{image}").content
    opened = Image.open(io.BytesIO(kept))
    assert (opened.size, dict(opened.getexif()), opened.info) == ((20, 40), {}, {})
    assert b"camera" not in kept
    assert b"secret" not in kept


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members:
            packed.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        zipped(("recipe.json", bytes(8 * 2**20))),
        zipped(("../../recipe.json", b'{"generator": "vqgan_clip", "spec": {}}')),
        zipped(("/etc/recipe.json", b'{"generator": "vqgan_clip", "spec": {}}')),
        zipped(*((f"{number}.png", b"") for number in range(20_000))),
        zipped(("recipe.json", b"[" * 200_000)),
        b"\x89PNG\r\n\x1a\n" + chunk(b"zTXt", b"recipe\0\0" + zlib.compress(bytes(8 * 2**20))),
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**32 - 1) + b"tEXtrecipe\0{}",
    ],
    ids=["bomb", "up", "root", "many", "deep", "png bomb", "length"],
)
def test_a_recipe_is_read_from_no_bomb_and_under_no_other_name(open_studio: Open, data: bytes) -> None:
    answer = open_studio().post("/api/recipes", content=data)
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("There is no recipe in this file")


@pytest.mark.parametrize("path", ["/api/jobs", "/api/presets", "/api/votes", "/api/jobs/x/reports"])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(open_studio: Open, path: str) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while read < 2 * 2**20:
            read += 2**16
            yield bytes(2**16)

    client = open_studio()
    said = client.post(path, content=b"{}", headers={"Content-Length": str(2**40)})
    assert (said.status_code, said.json()["error"]) == (
        413,
        "What you sent is too large: 1 MB are taken here.",
    )
    assert client.post(path, content=endless()).status_code == 413
    assert client.post(path, content=b"{}", headers={"Content-Length": "-1"}).status_code == 413


# --- other people's things -------------------------------------------------------------------------------


def test_a_forged_lease_writes_nothing(house: Studio) -> None:
    job = house.queue.enqueue("vqgan_clip", {**SPEC, "weights": "sandbox"}, submitter="ann")
    claim = house.queue.claim("executor")
    assert claim is not None
    for forged in ("", "%", "0" * 16, claim.token[:-1], claim.token.upper() + " ", "' OR '1'='1"):
        held = Claim(claim.job, forged)
        for write in (
            lambda held=held: house.queue.heartbeat(held),
            lambda held=held: house.queue.fail(held, "forged"),
            lambda held=held: house.queue.release(held),
            lambda held=held: house.queue.finish(held, Result("x", "y", 1.0, {}, 1, 1)),
        ):
            with pytest.raises(LeaseLost):
                write()
    assert house.queue.get(job.id).state == "running"
    assert claim.token not in json.dumps(TestClient(create_api()).app.openapi())


def test_no_answer_tells_a_lease(open_studio: Open, house: Studio) -> None:
    client = open_studio()
    job = client.post("/api/jobs", json=JOB).json()
    claim = house.queue.claim("executor")
    assert claim is not None
    for path in ("/api/jobs", f"/api/jobs/{job['id']}"):
        assert claim.token not in client.get(path).text


def test_nobody_touches_other_peoples_jobs(open_studio: Open, draw: Draw) -> None:
    mine = open_studio()
    other = another(mine)
    job = mine.post("/api/jobs", json=JOB).json()
    assert other.post(f"/api/jobs/{job['id']}/cancel").status_code == 403
    draw(job["id"])
    assert other.delete(f"/api/jobs/{job['id']}").status_code == 403
    for act in ("hide", "show", "reports/settle"):
        assert other.post(f"/api/jobs/{job['id']}/{act}").status_code == 403
    assert other.get("/api/reports").status_code == 403
    assert mine.delete(f"/api/jobs/{job['id']}").status_code == 204


def test_a_token_that_manages_does_to_other_peoples_jobs_what_pages_do(
    open_studio: Open, house: Studio, draw: Draw
) -> None:
    mine = open_studio(replace(SIGN_IN, visitors_draw=True))
    other = another(mine)
    waiting, drawn = (mine.post("/api/jobs", json=JOB).json()["id"] for _ in range(2))
    for shown in (token(house, "draw"), token(house, "manage")):
        assert other.post(f"/api/jobs/{waiting}/cancel", headers=shown).status_code == 403
    admin = token(house, "manage", role=Role.ADMIN)
    assert other.post(f"/api/jobs/{waiting}/cancel", headers=admin).json()["state"] == "cancelled"
    draw(drawn)
    assert other.delete(f"/api/jobs/{drawn}", headers=admin).status_code == 204


def test_ones_own_jobs_are_for_who_may_draw(open_studio: Open, house: Studio) -> None:
    client = open_studio(SIGN_IN)
    job = client.post("/api/jobs", json=JOB, headers=token(house, "draw")).json()["id"]
    for scope, status in (("read", 403), ("draw", 200)):
        answer = client.post(f"/api/jobs/{job}/cancel", headers=token(house, scope))
        assert answer.status_code == status


def test_what_is_hidden_is_there_for_its_owner_and_admins_only(
    open_studio: Open, house: Studio, draw: Draw
) -> None:
    mine = open_studio(replace(SIGN_IN, visitors_draw=True))
    other = another(mine)
    admin = token(house, "read", "manage", role=Role.ADMIN)
    jobs = [mine.post("/api/jobs", json={**JOB, "parameters": {**SPEC, "seed": s}}).json() for s in (1, 2)]
    for job in jobs:
        draw(job["id"])
    job = jobs[0]["id"]
    assert other.post(f"/api/jobs/{job}/reports", json={"reason": "it is rude"}).status_code == 201
    assert other.post(f"/api/jobs/{job}/reports", json={"reason": "again"}).status_code == 409
    other.cookies.clear()
    (reported,) = other.get("/api/reports", headers=admin).json()
    assert (reported["job"]["id"], reported["reports"][0]["reason"]) == (job, "it is rude")

    assert other.post(f"/api/jobs/{job}/hide", headers=admin).status_code == 204

    for path in ("", "/image.png", "/animation.gif", "/frames.zip", "/events"):
        assert other.get(f"/api/jobs/{job}{path}").status_code == 404
    assert other.post(f"/api/jobs/{job}/upload").status_code == 404
    assert other.get("/api/gallery").json()["total"] == 1
    assert other.get("/api/jobs").json()["total"] == 1
    assert other.get("/api/votes/pair").json()["left"] is None
    ballot = {"left": job, "right": jobs[1]["id"], "verdict": "left"}
    assert other.post("/api/votes", json=ballot).status_code == 404
    for sees, headers in ((mine, {}), (other, admin)):
        assert sees.get(f"/api/jobs/{job}/image.png", headers=headers).status_code == 200
        assert sees.get("/api/gallery", headers=headers).json()["total"] == 2
    assert other.post(f"/api/jobs/{job}/show", headers=admin).status_code == 204
    assert other.get(f"/api/jobs/{job}/image.png").status_code == 200
    assert other.post(f"/api/jobs/{job}/reports/settle", headers=admin).status_code == 204
    assert other.get("/api/reports", headers=admin).json() == []


# --- being somebody else ---------------------------------------------------------------------------------


def test_a_visitor_looks_and_does_nothing_else_where_people_sign_in(open_studio: Open) -> None:
    client = open_studio(SIGN_IN)
    assert client.get("/api/gallery").status_code == 200
    for method, path, body in (
        ("POST", "/api/jobs", JOB),
        ("POST", "/api/uploads", None),
        ("POST", "/api/recipes", None),
        ("GET", "/api/executors", None),
        ("POST", "/api/weights/clip/download", None),
        ("POST", "/api/votes", {"left": "a", "right": "b", "verdict": "left"}),
        ("POST", "/api/presets", {"name": "x", "generator": "x", "weights": "x", "parameters": {}}),
    ):
        assert client.request(method, path, json=body).status_code == 403, path


def test_a_secret_of_ones_own_is_nobody_where_people_sign_in(open_studio: Open) -> None:
    answer = open_studio(SIGN_IN).get("/api/me", headers={"Authorization": "Bearer a-secret-of-my-own"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("spelled", ["member\nhttps://idp.example\nann", "https://idp.example ann"])
def test_no_secret_makes_one_a_member(spelled: str) -> None:
    member = Identity("https://idp.example", "ann").person
    assert person_of(spelled.replace("\n", "")) != member
    assert person_of(spelled.replace("\n", " ")) != member


@pytest.mark.parametrize(
    "cookie",
    [
        json.dumps({"is_logged_in": True, "iss": "https://idp.example", "sub": "ann"}),
        base64.b64encode(b'{"is_logged_in": true, "iss": "https://idp.example", "sub": "ann"}').decode(),
        "2|1:0|10:1234567890|15:_streamlit_user|4:eyJ9|" + "0" * 64,
    ],
)
def test_a_forged_sign_in_cookie_signs_nobody_in(open_studio: Open, cookie: str) -> None:
    client = open_studio(SIGN_IN)
    client.cookies.set("_streamlit_user", cookie.replace('"', "'"))
    assert client.get("/api/me").json()["role"] == "visitor"


@pytest.mark.parametrize("scopes", [("read",), ("draw",), ("vote",), ("manage",), ("read", "draw", "vote")])
def test_a_token_does_what_its_scopes_and_its_person_may(
    open_studio: Open, house: Studio, scopes: tuple[str, ...]
) -> None:
    client = open_studio(SIGN_IN)
    shown = token(house, *scopes)
    rights = client.get("/api/me", headers=shown).json()["rights"]
    assert (Right.LOOK in rights) is ("read" in scopes)
    assert (Right.DRAW in rights) is ("draw" in scopes)
    assert not {Right.OWN_TOKENS, Right.MODERATE, Right.PAUSE, Right.MANAGE_WEIGHTS} & set(rights)
    assert client.post("/api/jobs", json=JOB, headers=shown).status_code == (201 if "draw" in scopes else 403)


def test_a_token_of_who_is_no_admin_any_more_manages_nothing(open_studio: Open, house: Studio) -> None:
    shown = token(house, "read", "manage", role=Role.ADMIN)
    assert Right.PAUSE in open_studio(SIGN_IN).get("/api/me", headers=shown).json()["rights"]
    without = replace(SIGN_IN, admins=frozenset())
    assert Right.PAUSE not in open_studio(without).get("/api/me", headers=shown).json()["rights"]


@pytest.mark.parametrize("rules", [SIGN_IN, PUBLIC])
def test_the_figures_are_for_who_may_see_the_system(open_studio: Open, house: Studio, rules: Rules) -> None:
    client = open_studio(rules)
    assert client.get("/metrics").status_code == 403
    assert client.get("/metrics", headers=token(house, "draw")).status_code == 403
    assert "studio_jobs" in client.get("/metrics", headers=token(house, "read")).text


def test_guessing_tokens_is_refused_and_slowed(open_studio: Open, house: Studio) -> None:
    client = open_studio(SIGN_IN, LimitSettings(failures_per_minute=3))
    real = token(house, "read")
    for guess in ("sk_", "sk_guess", "sk_" + "A" * 43):
        answer = client.get("/api/me", headers={"Authorization": f"Bearer {guess}"})
        assert answer.status_code == 401
    slowed = client.get("/api/me", headers=real)
    assert slowed.status_code == 429
    assert 1 <= int(slowed.headers["retry-after"]) <= 60
    assert slowed.json()["error"].startswith("You have sent too many tokens that are none: wait")
    assert another(client).get("/api/me", headers=real).status_code == 200
    assert client.get("/api/gallery").status_code == 200, "who shows no token is not slowed"


# --- requests from elsewhere -----------------------------------------------------------------------------

FOREIGN = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://studio.example.evil.example"},
    {"Origin": "http://studio.example:81"},
)


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_site_changes_nothing_through_a_visitors_browser(
    open_studio: Open, headers: dict[str, str]
) -> None:
    client = open_studio()
    for method, path in (("POST", "/api/jobs"), ("POST", "/api/uploads"), ("DELETE", "/api/jobs/x")):
        answer = client.request(method, path, json=JOB, headers=headers)
        assert answer.status_code == 403
        assert answer.json()["error"].startswith("Another site sent this request")
    assert client.get("/api/jobs").json()["total"] == 0
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("scheme", "status"), [("Basic", 403), ("Digest", 403), ("", 403), ("Bearer", 201), ("bearer", 201)]
)
def test_what_a_browser_may_send_by_itself_is_no_token(open_studio: Open, scheme: str, status: int) -> None:
    headers = {"Origin": "https://evil.example", "Authorization": f"{scheme} a-secret-of-my-own".strip()}
    assert open_studio().post("/api/jobs", json=JOB, headers=headers).status_code == status


@pytest.mark.parametrize("headers", [{}, {"Origin": ADDRESS}, {"Sec-Fetch-Site": "same-origin"}])
def test_the_studios_own_pages_do(open_studio: Open, headers: dict[str, str]) -> None:
    assert open_studio().post("/api/jobs", json=JOB, headers=headers).status_code == 201


@pytest.mark.parametrize(
    ("url", "headers", "status"),
    [
        ("http://localhost:8501", {}, 200),
        ("http://127.0.0.1:8501", {}, 200),
        ("http://[::1]:8501", {}, 200),
        ("http://evil.example:8501", {}, 403),
        ("http://localhost.evil.example", {}, 403),
        ("http://localhost:8501", {"X-Forwarded-For": "203.0.113.9"}, 403),
        ("http://localhost:8501", {"Forwarded": "for=203.0.113.9"}, 403),
        ("http://localhost:8501", {"Via": "1.1 proxy"}, 403),
        ("http://localhost:8501", {"X-Real-IP": "203.0.113.9"}, 403),
        ("http://localhost:8501", {"X-Forwarded-Host": "studio.example"}, 403),
        ("http://localhost:8501", {"X-Forwarded-Proto": "https"}, 403),
    ],
)
def test_a_studio_of_ones_own_machine_has_no_other_name(
    open_studio: Open, url: str, headers: dict[str, str], status: int
) -> None:
    client = open_studio(RULES, client=("127.0.0.1", 50000), url=url)
    assert client.get("/api/queue", headers=headers).status_code == status


def test_a_studio_of_ones_own_machine_does_not_speak_as_nginx_does(open_studio: Open) -> None:
    client = open_studio(RULES, client=("127.0.0.1", 50000), url="http://127.0.0.1:8501")

    async def older(scope: Scope, receive: Receive, send: Send) -> None:
        await client.app({**scope, "http_version": "1.0"}, receive, send)

    with TestClient(older, base_url=client.base_url, client=("127.0.0.1", 50000)) as proxied:
        assert proxied.get("/api/queue").status_code == 403
    assert client.get("/api/queue").status_code == 200


# --- too much --------------------------------------------------------------------------------------------


def test_who_asks_too_often_waits(open_studio: Open) -> None:
    client = open_studio(limits=LimitSettings(requests_per_minute=3))
    assert [client.get("/api/queue").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert another(client).get("/api/queue").status_code == 200
    refused = client.get("/api/queue")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 20


def test_live_connections_and_files_for_pages_count(open_studio: Open) -> None:
    client = open_studio(limits=LimitSettings(requests_per_minute=4, uploads_per_hour=1))
    path = "/_stcore/upload_file/session/file"
    assert [client.put(path).status_code for _ in range(2)] == [404, 429]
    for _ in range(2):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/_stcore/stream"):
            pass
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/_stcore/stream"):
        pass
    assert refused.value.status_code == 429


@pytest.mark.parametrize(
    ("rules", "megabytes"), [(PUBLIC, 101), (replace(PUBLIC, manage_weights=True), 2001), (SIGN_IN, 0)]
)
def test_only_who_manages_weights_gives_a_page_a_file_as_large(
    open_studio: Open, rules: Rules, megabytes: int
) -> None:
    client = open_studio(rules)
    for size, status in ((megabytes * 2**20, 404), (megabytes * 2**20 + 1, 413)):
        answer = client.put("/_stcore/upload_file/x/y", headers={"Content-Length": str(size)})
        assert answer.status_code == status
    assert door.LARGEST_WEIGHTS_MB < st.get_option("server.maxUploadSize") == 2001


def test_many_cookies_at_one_address_are_one(open_studio: Open) -> None:
    client = open_studio(limits=LimitSettings(submissions_per_minute=4, max_waiting_per_address=3))
    statuses = []
    for seed in range(5):
        client.cookies.clear()
        body = {**JOB, "parameters": {**SPEC, "seed": seed}}
        statuses.append(client.post("/api/jobs", json=body).status_code)
    assert statuses == [201, 201, 201, 429, 429]
    assert another(client).post("/api/jobs", json=JOB).status_code == 201


@pytest.mark.parametrize("proxies", [(), ("10.0.0.0/8",)])
@pytest.mark.parametrize("written", ["192.0.2.{}", "192.0.2.{}:7", "[2001:db8:{}::1]:7"])
@pytest.mark.parametrize("proxy", ["203.0.113.7", "127.0.0.1"])
def test_a_forwarded_address_is_believed_from_trusted_proxies_only(
    open_studio: Open, proxies: tuple[str, ...], written: str, proxy: str
) -> None:
    client = open_studio(limits=LimitSettings(requests_per_minute=2), proxies=proxies)
    statuses = [ask_through(proxy, client, written.format(number)) for number in range(3)]
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize("proxy", ["10.0.0.1", "::ffff:10.0.0.1", "127.0.0.1"])
@pytest.mark.parametrize("port", ["", ":7"])
def test_behind_a_trusted_proxy_each_client_counts_for_itself(
    open_studio: Open, proxy: str, port: str
) -> None:
    limits = LimitSettings(requests_per_minute=2)
    client = open_studio(limits=limits, proxies=("10.0.0.0/8", "127.0.0.1"))
    alone = [ask_through(proxy, client, f"192.0.2.{n}{port}") for n in range(3)]
    assert alone == [200, 200, 200]
    way = f"198.51.100.1{port}, 10.0.0.2{port}"
    spoofed = [ask_through(proxy, client, f"192.0.2.{n}, {way}") for n in range(100, 103)]
    assert spoofed == [200, 200, 429], "what the client itself wrote is not believed"


def test_an_address_is_the_same_one_in_ipv6(open_studio: Open) -> None:
    client = open_studio(limits=LimitSettings(requests_per_minute=2))
    written = ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201", "::ffff:192.0.2.2")
    assert [another(client, a).get("/api/queue").status_code for a in written] == [200, 200, 429, 200]


def test_all_addresses_of_a_household_are_one(open_studio: Open) -> None:
    client = open_studio(limits=LimitSettings(requests_per_minute=2), client=("2001:db8::1", 1))
    neighbours = [another(client, f"2001:db8::{n}") for n in range(2, 5)]
    assert [c.get("/api/queue").status_code for c in neighbours] == [200, 200, 429]
    assert another(client, "2001:db8:0:1::1").get("/api/queue").status_code == 200


def test_cookies_are_for_the_studio_alone_and_for_https_where_it_is_spoken(open_studio: Open) -> None:
    plain = open_studio().get("/api/queue").headers["set-cookie"]
    assert plain.startswith(COOKIE)
    assert {"HttpOnly", "SameSite=Lax"} <= set(plain.split("; "))
    assert "Secure" not in plain
    assert "; Secure" in open_studio(url="https://studio.example").get("/api/queue").headers["set-cookie"]
    behind = open_studio(proxies=("10.0.0.0/8",), client=("10.0.0.1", 1))
    proxied = behind.get("/api/queue", headers={"X-Forwarded-Proto": "https"})
    assert "; Secure" in proxied.headers["set-cookie"]


def test_the_apis_description_runs_its_own_scripts_only(open_studio: Open) -> None:
    policy = open_studio().get("/api/docs").headers["content-security-policy"]
    assert "'sha256-" in policy
    assert "script-src 'self' 'sha256-" in policy
    assert policy.count("unsafe-inline") == 1, "for styles"
