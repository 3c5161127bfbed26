"""Everything that a request passes on its way in, in order."""

from pathlib import Path
from urllib.parse import urlsplit

import streamlit
from starlette.middleware import Middleware

from settings import Settings
from store import ArtifactStore
from web.address import KnowAddress, networks
from web.headers import OwnMachineOnly, SameOriginOnly, SetHeaders
from web.limits import LimitBodies, LimitRequests, Limits
from web.permissions import Openness, Rules
from web.person import RememberPerson

PAGE = Path(streamlit.__file__).parent / "static" / "index.html"
LARGEST_WEIGHTS_MB = 2000


def middleware(settings: Settings, rules: Rules, limits: Limits) -> list[Middleware]:
    """The way in of a studio with these rules, outermost first. Raises SettingsError, StoreError."""
    only_here = [Middleware(OwnMachineOnly)] if rules.openness is Openness.OWN_MACHINE else []
    return [
        Middleware(SetHeaders, page=PAGE, store=_origin_of_signed_links(settings)),
        *only_here,
        Middleware(KnowAddress, trusted=networks(settings.web.trusted_proxies)),
        Middleware(SameOriginOnly),
        Middleware(RememberPerson, rules=rules, limits=limits),
        Middleware(LimitRequests, limits=limits),
        Middleware(LimitBodies, largest_weights=LARGEST_WEIGHTS_MB * 2**20),
    ]


def _origin_of_signed_links(settings: Settings) -> str:
    """Where pictures come from beside this server; "" where it hands them out itself."""
    if settings.web.artifact_links != "signed":
        return ""
    store = ArtifactStore(settings.artifact_url, settings.artifact_options)
    link = urlsplit(store.signed_link("origin", seconds=1, kind="image/png", disposition="inline") or "")
    return f"{link.scheme}://{link.netloc}" if link.netloc else ""
