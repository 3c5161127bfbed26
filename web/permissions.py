"""Who may do what concerns everybody who uses the studio."""

from ipaddress import ip_address

from settings import WebSettings

WHY_NO_WEIGHTS = (
    "Weights are installed and removed by whoever runs the studio, for it is open to other machines: "
    "set web.manage_weights to allow everybody, or run python -m weights there."
)


def may_manage_weights(settings: WebSettings, address: str | None) -> bool:
    """Whether who uses the pages may install and remove weights.

    They may where only the studio's own machine reaches it at ``address``, or the setting allows everybody;
    None is the address of a server that listens everywhere.
    """
    return settings.manage_weights or _is_own_machine(address)


def _is_own_machine(address: str | None) -> bool:
    try:
        return ip_address(address or "").is_loopback
    except ValueError:
        return address == "localhost"
