from collections.abc import Iterator

import pytest

from tests.object_store import ObjectStore


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Shared by all tests: each takes a place of its own."""
    store = ObjectStore(tmp_path_factory.mktemp("objects") / "store")
    try:
        store.start()
        yield store
    finally:
        store.kill()
