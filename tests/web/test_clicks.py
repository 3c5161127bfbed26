from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import streamlit as st
from streamlit.runtime.fragment import MemoryFragmentStorage
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import RerunException, add_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests
from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext
from streamlit.runtime.state import SafeSessionState, SessionState

from web import clicks


@pytest.fixture
def requests() -> ScriptRequests:
    clicks.serve_first()
    return ScriptRequests()


def ask_from_a_script(requests: ScriptRequests) -> None:
    """``st.rerun()`` as a page calls it, in the thread of its session."""

    def script() -> None:
        context = ScriptRunContext(
            session_id="a session",
            _enqueue=lambda message: None,
            query_string="",
            session_state=SafeSessionState(SessionState(), lambda: None),
            uploaded_file_mgr=MemoryUploadedFileManager("/upload"),
            main_script_path="main.py",
            user_info={},
            fragment_storage=MemoryFragmentStorage(),
            pages_manager=PagesManager("main.py"),
            script_requests=requests,
        )
        add_script_run_ctx(ctx=context)
        context.reset()
        with suppress(RerunException):
            st.rerun()

    with ThreadPoolExecutor() as thread:
        thread.submit(script).result()


def served(requests: ScriptRequests) -> str:
    return requests.on_scriptrunner_ready().rerun_data.page_script_hash


def test_a_click_that_waits_keeps_its_page(requests: ScriptRequests) -> None:
    requests.request_rerun(RerunData(page_script_hash="the page that was clicked on"))
    ask_from_a_script(requests)
    assert served(requests) == "the page that was clicked on"


def test_of_two_clicks_the_later_is_served(requests: ScriptRequests) -> None:
    requests.request_rerun(RerunData(page_script_hash="one page"))
    requests.request_rerun(RerunData(page_script_hash="another"))
    assert served(requests) == "another"


def test_a_script_is_rerun_where_no_other_page_waits(requests: ScriptRequests) -> None:
    requests.request_rerun(RerunData(fragment_id="the stage"))
    ask_from_a_script(requests)
    assert not requests.on_scriptrunner_ready().rerun_data.fragment_id_queue
