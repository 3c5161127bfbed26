"""A click on another page that holds while the page that is left is about to draw itself anew.

A click starts a run of its own and asks the run before it to end. Streamlit remembers the page that is asked
for once for all runs of a session, so the older run, where it is just about to begin again, would put its own
page in the place of the one that was clicked on. Nothing public tells a run that it was asked to end, so the
rule is set where Streamlit keeps the page.
"""

from collections.abc import Callable
from functools import wraps

from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequests, ScriptRequestType


def hold() -> None:
    """From now on a run that was asked to end no longer says which page its session is on."""
    for name in ("set_script_intent", "set_current_page_script_hash"):
        setattr(PagesManager, name, _unless_ending(getattr(PagesManager, name)))


def _unless_ending(tell: Callable[..., None]) -> Callable[..., None]:
    """Under the lock that asking it to end takes: what was told before that, the newer run tells anew."""

    @wraps(tell)
    def tell_unless_ending(pages: PagesManager, *asked: str) -> None:
        run = get_script_run_ctx(suppress_warning=True)
        requests = ScriptRequests() if run is None or run.script_requests is None else run.script_requests
        with requests._lock:
            if requests._state is not ScriptRequestType.STOP:
                tell(pages, *asked)

    return tell_unless_ending
