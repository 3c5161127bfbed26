"""Who may do what concerns everybody who uses the studio."""

from ipaddress import ip_address

from settings import WebSettings

WHY_NO_WEIGHTS = (
    "Here weights are installed and removed by whoever runs the studio: with python -m weights, or on this "
    "page where only the studio's own machine reaches it or the setting web.manage_weights is true."
)


def may_manage_weights(settings: WebSettings, address: str | None) -> bool:
    """Whether who uses the pages may install and remove weights.

    The setting says so; without it they may where only the studio's own machine reaches its ``address``. None
    is that of a server that listens everywhere. A reverse proxy looks like the machine that it runs on.
    """
    return _is_own_machine(address) if settings.manage_weights is None else settings.manage_weights


def _is_own_machine(address: str | None) -> bool:
    try:
        return ip_address(address or "").is_loopback
    except ValueError:
        return address == "localhost"
