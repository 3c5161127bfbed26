import pytest

from settings import WebSettings
from web.permissions import may_manage_weights


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_whoever_comes_from_the_studios_own_machine_may(address: str) -> None:
    assert may_manage_weights(WebSettings(), address)
    assert not may_manage_weights(WebSettings(manage_weights=False), address)


@pytest.mark.parametrize("address", [None, "", "0.0.0.0", "::", "192.168.1.5", "localhost.example"])
def test_where_other_machines_reach_the_studio_only_the_setting_allows_it(address: str | None) -> None:
    assert not may_manage_weights(WebSettings(), address)
    assert may_manage_weights(WebSettings(manage_weights=True), address)
