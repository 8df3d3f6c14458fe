"""The routes, and nothing else: what they say is decided in asked, snapshots and views.

    /            the page, complete without JavaScript
    /healthz     who answers; never touches usage, so it is quick whatever the sources do
    /api/usage   the document of `usage --json`; the same words as the command's flags

Errors are JSON under /api and pages elsewhere. The only importer of flask.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, jsonify, render_template, request
from msgspec.structs import replace
from werkzeug.exceptions import HTTPException

from cc.clock import SystemClock
from cc.dashboard import views
from cc.dashboard.asked import FILTERS, answers_to, usage_query, words_of
from cc.dashboard.identity import Identity, identity
from cc.dashboard.snapshots import Snapshots
from cc.dashboard.sources import now_local
from cc.errors import CcError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cc.clock import Clock
    from cc.dashboard.snapshots import Read
    from cc.usage.model import By

GROUPINGS: tuple[By, By, By] = ("day", "model", "project")
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def create_app(
    read: Read,
    me: Identity,
    *,
    places: Callable[[], Sequence[views.Place]] = tuple,
    clock: Clock | None = None,
) -> Flask:
    """The application. `read` answers queries of one look; `places` tells where it looks, for when nothing is found."""
    app = Flask("cc.dashboard", static_folder="static", template_folder="templates")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    snapshots = Snapshots(read, clock or SystemClock(), now_local)
    _guard(app, me)
    _tell_errors(app)

    @app.get("/")
    def page() -> Any:
        words = words_of(request.args.items(multi=True), FILTERS)
        query = usage_query(words, now=now_local())
        day, model, project = snapshots.readings(*(replace(query, by=by) for by in GROUPINGS))
        readings = views.Readings(day, model, project)
        shown = views.page(readings, query, words, me, now=now_local(), places=places())
        return render_template("page.html", page=shown)

    @app.get("/healthz")
    def healthz() -> Any:
        return jsonify(me.as_dict())

    @app.get("/api/usage")
    def usage() -> Any:
        words = words_of(request.args.items(multi=True), ("by", *FILTERS))
        (reading,) = snapshots.readings(usage_query(words, now=now_local()))
        return jsonify(reading.as_dict())

    return app


def from_environment() -> Flask:
    """The application of this process's environment: what gunicorn calls. Raises ConfigError."""
    from cc import settings as configuration
    from cc.dashboard.sources import EnvironmentSources

    settings = configuration.load(os.environ)
    sources = EnvironmentSources(settings, os.environ)
    return create_app(sources.read, identity(os.environ, settings.project), places=sources.places)


def _guard(app: Flask, me: Identity) -> None:
    @app.before_request
    def refuse_strange_hosts() -> Any:
        if answers_to(request.environ.get("HTTP_HOST"), me.bound_host):
            return None
        # Nothing of the page's: who asks under a strange name learns that something is here, and no more.
        refusal = UsageError("this dashboard answers to its own address only", field="Host")
        return jsonify({"error": refusal.as_dict()}), 421

    @app.after_request
    def secure(response: Response) -> Response:
        response.headers.update(SECURITY_HEADERS)
        return response


def _tell_errors(app: Flask) -> None:
    @app.errorhandler(UsageError)
    def bad_query(error: UsageError) -> Any:
        return _error(error, 400, "That can't be asked")

    @app.errorhandler(HTTPException)
    def refused(refusal: HTTPException) -> Any:
        status = refusal.code or 500
        if status == 404:
            error: CcError = UsageError(
                f"there is nothing at {request.path}", hint="there is /, /api/usage and /healthz"
            )
        elif status < 500:
            error = UsageError(refusal.description or refusal.name)
        else:  # a bug of ours: its traceback is in the log, and not on the page
            error = CcError("the dashboard could not make this answer", hint="its log says why")
        answer, _ = _error(error, status, refusal.name)
        for name, value in refusal.get_headers():
            if name == "Allow":
                answer.headers[name] = value
        return answer, status


def _error(error: CcError, status: int, title: str) -> tuple[Response, int]:
    if request.path.startswith(("/api/", "/healthz")):
        return jsonify({"error": error.as_dict()}), status
    return Response(render_template("error.html", title=title, error=error), mimetype="text/html"), status
