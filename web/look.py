"""The shared look of the pages: style sheet, masthead, and the few pieces of HTML that they are made of."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import streamlit as st

from jobs.records import Job, JobState
from web.files import saved_name
from web.permissions import Caller, Right
from web.plain_text import plain
from web.problems import NotAllowed

STYLE = Path(__file__).with_name("look.css")
MARK = Path(__file__).with_name("mark.svg")
PAGES = {
    "generate.py": ("Text-to-Image Generation", ":material/brush:"),
    "gallery.py": ("Previous Inferences", ":material/photo_library:"),
    "vote.py": ("Vote Images", ":material/how_to_vote:"),
    "weights.py": ("Weights", ":material/inventory_2:"),
    "system.py": ("System", ":material/memory:"),
    "account.py": ("Account", ":material/account_circle:"),
    "admin.py": ("Admin", ":material/shield_person:"),
}
NEEDED = {"system.py": Right.SEE_SYSTEM, "admin.py": Right.SETTLE_REPORTS}
"""Pages that are there only for those who have the right."""
DOWNLOADS = {
    "PNG": ("image.png", "The finished picture"),
    "GIF": ("animation.gif", "The picture forming, shown by every program"),
    "MP4": ("animation.mp4", "The picture forming, as a film"),
    "WebP": ("animation.webp", "The picture forming, in all its colours"),
    "Frames": ("frames.zip", "The single pictures of the animation"),
}
STATE_NAMES = {
    JobState.QUEUED: "waiting",
    JobState.RUNNING: "drawing",
    JobState.SUCCEEDED: "done",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}


class Html(str):
    """What is HTML already, and not to be escaped."""


def dress(caller: Caller | None) -> None:
    """Put style and masthead on the page that is about to be drawn; it is about to fail for None."""
    pages = {file: page for file, page in PAGES.items() if _is_there(file, caller)}
    theme = st.context.theme.type or "light"
    colours = {
        "card": st.get_option(f"theme.{theme}.secondaryBackgroundColor"),
        "ground": st.get_option(f"theme.{theme}.backgroundColor"),
        "accent": st.get_option(f"theme.{theme}.linkColor"),
        "alarm": st.get_option(f"theme.{theme}.redColor"),
        "good": st.get_option(f"theme.{theme}.greenColor"),
    }
    variables = f"--pages:{len(pages)};" + "".join(f"--{name}:{colour};" for name, colour in colours.items())
    st.html(f"<style>:root{{{variables}}}{STYLE.read_text()}</style>")
    with st.container(key="masthead", horizontal=True, gap="xxsmall"):
        mark = b64encode(MARK.read_bytes()).decode()
        st.html(
            f'<div class="brand"><img src="data:image/svg+xml;base64,{mark}" alt="">Studio</div>',
            width="content",
        )
        for file, (title, icon) in pages.items():
            st.page_link(file, label=title, icon=icon)


def refuse(caller: Caller, right: Right) -> None:
    """Tell why the caller may not do it, and the way to the page where one signs in."""
    try:
        caller.require(right)
    except NotAllowed as problem:
        st.info(plain(str(problem)), icon=":material/lock:")
        if not caller.signed_in:
            st.page_link("account.py", label="Account", icon=":material/account_circle:")


def heading(title: str, text: str) -> None:
    """The page's name, and what it is for."""
    st.html(f'<div class="heading"><h1>{escape(title)}</h1><p>{escape(text)}</p></div>')


def empty(title: str, text: str, symbol: str = "image") -> None:
    """An empty state: what is missing here, and what to do about it."""
    st.html(
        f'<div class="empty"><span class="symbol">{symbol}</span>'
        f"<strong>{escape(title)}</strong><p>{escape(text)}</p></div>"
    )


def picture(job: Job) -> str:
    """HTML of a finished job's picture; a click plays and stops its animation."""
    assert job.result is not None
    name, ratio = escape(job.prompt, quote=True), f"{job.result.width} / {job.result.height}"
    return (
        f'<label class="picture" style="aspect-ratio: {ratio}" title="Play or stop">'
        f'<input type="checkbox" aria-label="Play the animation of: {name}">'
        f'<img class="still" src="{image_url(job)}" alt="{name}" loading="lazy">'
        f'<img class="moving" src="{animation_url(job)}" alt="" loading="lazy">'
        '<span class="play" aria-hidden="true"></span></label>'
    )


def badge(state: JobState) -> str:
    """HTML of a job's state as one word."""
    return f'<span class="badge {state.value}">{STATE_NAMES[state]}</span>'


def byline(job: Job) -> str:
    """HTML of one quiet line: how it was made, and when."""
    return f'<p class="byline">{escape(job.weights)} · {ago(job.finished_at or job.created_at)}</p>'


def row(job: Job) -> str:
    """HTML of a job on one line: small picture, prompt, state."""
    thumb = f'<img src="{image_url(job)}" alt="">' if job.result else "<i></i>"
    return f'<div class="row">{thumb}<div><p>{escape(job.prompt)}</p>{badge(job.state)}</div></div>'


def figures(values: Mapping[str, int | str]) -> None:
    """A row of large numbers with their names."""
    tiles = "".join(
        f"<div><strong>{value}</strong><span>{name}</span></div>" for name, value in values.items()
    )
    st.html(f'<div class="figures">{tiles}</div>')


def facts(values: Mapping[str, object]) -> str:
    """HTML of a list of names and values; a value may be ``Html``."""
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{_cell(v)}</dd>" for k, v in values.items())
    return f'<dl class="facts">{rows}</dl>'


def downloads(job: Job) -> str:
    """HTML of the links that save a finished job's picture, its animation in several forms, and frames."""
    links = "".join(
        f'<a href="/api/jobs/{job.id}/{file}?save=true" download="{saved_name(job, Path(file).suffix)}"'
        f' aria-label="Download {kind}" title="{escape(title)}">{kind}</a>'
        for kind, (file, title) in DOWNLOADS.items()
    )
    return f'<div class="downloads"><span>Download</span>{links}</div>'


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table whose cells are HTML; escape what people wrote."""
    header = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    st.html(f'<div class="table"><table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>')


def image_url(job: Job) -> str:
    """The address of a finished job's picture."""
    return f"/api/jobs/{job.id}/image.png"


def animation_url(job: Job) -> str:
    """The address of a finished job's animation."""
    return f"/api/jobs/{job.id}/animation.gif"


def size(count: int) -> str:
    """Bytes, for example ``1.6 GB``, ``33.0 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def upload_url(reference: str) -> str:
    """The address of a picture that was handed in."""
    return f"/api/uploads/{reference}"


def thumbnails(references: Iterable[str]) -> Html:
    """HTML of small pictures that were handed in."""
    images = (f'<img src="{escape(upload_url(r), quote=True)}" alt="" loading="lazy">' for r in references)
    return Html(f'<span class="thumbnails">{"".join(images)}</span>')


def duration(seconds: float) -> str:
    """For example ``8 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def gigabytes(size: int) -> str:
    """For example ``0.9 GB``, ``12 GB``."""
    return f"{size / 1e9:.2g} GB" if size < 10**10 else f"{size / 1e9:.0f} GB"


def ago(moment: datetime) -> str:
    """For example ``just now``, ``5 min ago``, ``12 Mar 2026``."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 24 * 3600:
        return f"{seconds // 3600:.0f} h ago"
    return f"{moment:%-d %b %Y}"


def _is_there(file: str, caller: Caller | None) -> bool:
    return file not in NEEDED or (caller is not None and caller.may(NEEDED[file]))


def _cell(value: object) -> str:
    if isinstance(value, Html):
        return value
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))
