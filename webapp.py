"""The web application: the pages, and the JSON API on /api, on one port.

Run: ``python webapp.py [key=value …]``, for example ``web.port=9000``.

It leaves with 2 when a setting cannot be used, with 1 when the store cannot.
"""

import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import Mount

import db
import logs
from generators import registry
from jobs.chronicle import Chronicle
from jobs.executors import Executors
from jobs.figures import Watch
from jobs.gallery import Gallery, SampleError
from jobs.moderation import moderation
from jobs.people import Members
from jobs.presets import Presets
from jobs.queue import Queue
from jobs.reports import Reports
from jobs.retention import Retention
from jobs.tokens import Tokens
from jobs.uploads import Uploads
from jobs.votes import Votes
from settings import ROOT, SettingsError, load_settings
from store import ArtifactStore, StoreError
from web import clicks, door, health, metrics, problems, sign_in, studio
from web.api import create_api
from web.headers import DescribeScripts
from web.health import Part
from web.limits import Limits
from web.naming import NameJob
from web.permissions import Undecided, decide
from weights import catalogue
from weights.desk import WeightsDesk
from weights.store import Store

try:
    settings = load_settings(sys.argv[1:] if __name__ == "__main__" else ())
    address = settings.web.host if __name__ == "__main__" else st.get_option("server.address")
    rules = decide(settings.web, address, can_sign_in=sign_in.is_set_up())
    limits = Limits(settings.limits, rules)
    way_in = door.middleware(settings, rules, limits)
    objections = moderation(settings.moderation)
except StoreError as error:
    sys.exit(str(error))
except (SettingsError, Undecided, sign_in.SignInIncomplete) as error:
    print(error, file=sys.stderr)
    sys.exit(2)
logs.start(settings.log_format)


def open_studio() -> studio.Studio:
    """Ready the database and hand the pages all that they work with. Raises DatabaseError, StoreError."""
    db.migrate(settings.database_url)
    engine = db.open_engine(settings.database_url)
    artifacts = ArtifactStore(settings.artifact_url, settings.artifact_options)
    weights_dir = Path(settings.weights_dir)
    gallery = Gallery(engine, artifacts)
    try:
        gallery.import_samples(ROOT / "res" / "inferences")
    except SampleError as error:
        logging.getLogger(__name__).warning("%s", error)
    return studio.Studio(
        queue=Queue(engine, **vars(settings.queue)),
        executors=Executors(engine, alive_seconds=settings.queue.lease_seconds),
        artifacts=artifacts,
        uploads=Uploads(artifacts),
        gallery=gallery,
        votes=Votes(engine),
        presets=Presets(engine),
        generators=registry.generators(weights_dir),
        parse_spec=partial(registry.parse_spec, weights_dir=weights_dir),
        unknown_words=partial(catalogue.unknown_words, weights_dir=weights_dir),
        weights=WeightsDesk(Store(weights_dir, catalogue.entries())),
        rules=rules,
        limits=limits,
        members=Members(engine),
        tokens=Tokens(engine),
        reports=Reports(engine),
        moderation=objections,
        memory_need=partial(registry.memory_need, weights_dir=weights_dir),
        least_memory=registry.least_memory,
        signs_links=settings.web.artifact_links == "signed",
        watch=Watch(engine),
        retention=Retention(engine, artifacts, settings.retention.keep_days),
        chronicle=Chronicle(engine),
        check_database=partial(db.check, engine),
    )


@asynccontextmanager
async def log_in_one_way(_app: st.App) -> AsyncIterator[None]:
    """Start the logs once more, for the web server has set up its own since."""
    logs.start(settings.log_format)
    yield


clicks.hold()
studio.use(open_studio)
parts = {
    "database": Part("database", lambda: studio.current().check_database()),
    "store": Part("store", lambda: ArtifactStore(settings.artifact_url, settings.artifact_options).check()),
}
app = st.App(
    "web/main.py",
    lifespan=log_in_one_way,
    routes=[
        *health.routes(parts),
        metrics.route(parts),
        Mount("/api", app=DescribeScripts(create_api())),
    ],
    middleware=[Middleware(NameJob), *way_in],
    on_script_error=problems.show,
)

if __name__ == "__main__":
    os.environ["FORWARDED_ALLOW_IPS"] = ""  # uvicorn believes no proxy: web.address reads what they say
    app.run(config={"server.address": settings.web.host, "server.port": settings.web.port})
