"""Two runs of one session, as a click makes them: the older is asked to end when the newer begins."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from streamlit.runtime.fragment import MemoryFragmentStorage
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import add_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequests
from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext
from streamlit.runtime.state import SafeSessionState, SessionState

from web import clicks

OLD, CLICKED = "the page that is left", "the page that was clicked on"


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("set_script_intent", "set_current_page_script_hash"):
        monkeypatch.setattr(PagesManager, name, getattr(PagesManager, name))  # puts it back afterwards
    clicks.hold()


@pytest.fixture
def pages() -> PagesManager:
    return PagesManager("main.py")


class Run:
    """A run of a session's script, in a thread of its own."""

    def __init__(self, pages: PagesManager) -> None:
        self.requests = ScriptRequests()
        self._thread = ThreadPoolExecutor(1)
        self._pages = pages
        self._do(self._join_session)

    def begin(self, page: str) -> None:
        self._do(lambda: self._pages.set_script_intent(page, ""))
        self._do(lambda: self._pages.set_current_page_script_hash(page))

    def page(self) -> str | None:
        found = {page: {"script_path": "", "page_script_hash": page} for page in (OLD, CLICKED)}
        resolved = self._thread.submit(self._pages.set_pages_and_resolve, found).result()
        return resolved["page_script_hash"] if resolved else None

    def _do(self, action: Callable[[], None]) -> None:
        self._thread.submit(action).result()

    def _join_session(self) -> None:
        context = ScriptRunContext(
            session_id="a session",
            _enqueue=lambda message: None,
            query_string="",
            session_state=SafeSessionState(SessionState(), lambda: None),
            uploaded_file_mgr=MemoryUploadedFileManager("/upload"),
            main_script_path="main.py",
            user_info={},
            fragment_storage=MemoryFragmentStorage(),
            pages_manager=self._pages,
            script_requests=self.requests,
        )
        add_script_run_ctx(ctx=context)


def test_a_run_that_was_asked_to_end_does_not_take_the_click_back(pages: PagesManager) -> None:
    older, newer = Run(pages), Run(pages)
    older.begin(OLD)
    older.requests.request_stop()
    newer.begin(CLICKED)
    older.begin(OLD)
    assert newer.page() == CLICKED
    assert pages.current_page_script_hash == CLICKED


def test_a_run_that_goes_on_begins_on_the_page_that_it_is_asked_for(pages: PagesManager) -> None:
    run = Run(pages)
    run.begin(OLD)
    run.begin(CLICKED)
    assert run.page() == CLICKED
