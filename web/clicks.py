"""A click on another page that is not forgotten when the page that is left draws itself anew.

Streamlit folds two reruns that wait into one, on the page of the newer. Where a person clicks on a page, and
the script asks to be rerun before it has heard of that, the click's page is lost. Nothing public tells a
script what waits, so the rule is set where Streamlit keeps its requests.
"""

from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests, ScriptRequestType

_fold = ScriptRequests._request_rerun_locked


def serve_first() -> None:
    """From now on a script's own ``st.rerun`` gives way to another page that a person waits for."""
    ScriptRequests._request_rerun_locked = _give_way  # type: ignore[assignment, method-assign]


def _give_way(requests: ScriptRequests, wanted: RerunData) -> bool:
    if _asked_by_a_script() and _another_page_waits(requests, wanted):
        return True
    return _fold(requests, wanted)


def _asked_by_a_script() -> bool:
    """Clicks come in another thread, where no script runs."""
    return get_script_run_ctx(suppress_warning=True) is not None


def _another_page_waits(requests: ScriptRequests, wanted: RerunData) -> bool:
    waiting = requests._rerun_data
    return requests._state is ScriptRequestType.RERUN and waiting.page_script_hash != wanted.page_script_hash
