"""The API keeps what its description promises, whatever it is sent."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from web import studio
from web.api import create_api
from web.person import RememberPerson
from web.studio import Studio

THOROUGHNESS = settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

words = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters="|^:"), min_size=1, max_size=40
)
weighted = st.builds("{}:{}".format, st.sampled_from(["a circle", "red"]), st.sampled_from([0.5, 1, 2]))
schemathesis.openapi.format("prompt", st.lists(words | weighted, min_size=1, max_size=4).map(" | ".join))


def test_every_route_keeps_its_promise(house: Studio) -> None:
    description = schemathesis.openapi.from_asgi(
        "/openapi.json", RememberPerson(create_api(), house.rules, house.limits)
    )
    tested = []
    for found in description.get_all_operations():
        operation = found.ok()

        @THOROUGHNESS
        @given(case=operation.as_strategy())
        def keeps_its_promise(case: Any) -> None:
            case.call_and_validate()

        keeps_its_promise()
        tested.append(operation.label)
    assert "POST /jobs" in tested
    assert len(tested) == sum(map(len, create_api().openapi()["paths"].values()))


def test_every_route_describes_itself(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path}"
            assert "HTTPValidationError" not in str(operation), f"{method} {path}"


def test_a_studio_that_takes_long_to_open_holds_no_other_request_up(house: Studio) -> None:
    opening, answered, in_time = threading.Event(), threading.Event(), []

    def open_slowly() -> Studio:
        opening.set()
        in_time.append(answered.wait(10))
        return house

    studio.use(open_slowly)
    with TestClient(create_api()) as client, ThreadPoolExecutor() as pool:
        description = pool.submit(client.get, "/openapi.json")
        opening.wait()
        assert client.get("/nowhere").status_code == 404
        answered.set()
        assert description.result().status_code == 200
    assert in_time == [True]


def test_the_documentation_needs_no_other_server(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "https://" not in page
    script = page.split('<script src="')[1].split('"')[0]
    assert client.get(script).status_code == 200
