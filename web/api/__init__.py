"""The JSON API: everything that the pages do, for programs. ``create_api()`` makes it, one file a tag."""

from web.api.app import create_api

__all__ = ["create_api"]
