"""The routes, and nothing else: what they say is decided in requests, snapshots and views.

    /            the page, complete without JavaScript
    /healthz     who answers; never touches usage, so it is quick whatever the sources do
    /api/usage   the document of `usage --json`

The only importer of flask.
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, Response, jsonify, request

from cc.dashboard.identity import Identity, identity
from cc.dashboard.requests import answers_to
from cc.errors import UsageError

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


def create_app(me: Identity) -> Flask:
    """The application. Everything it needs is handed in."""
    app = Flask("cc.dashboard", static_folder="static", template_folder="templates")

    @app.before_request
    def refuse_strange_hosts() -> Any:
        if not answers_to(request.environ.get("HTTP_HOST"), me.bound_host):
            error = UsageError("this dashboard answers to its own address only", field="Host")
            return _error(error, 421)
        return None

    @app.after_request
    def secure(response: Response) -> Response:
        response.headers.update(SECURITY_HEADERS)
        return response

    @app.get("/healthz")
    def healthz() -> Any:
        return jsonify(me.as_dict())

    return app


def _error(error: UsageError, status: int) -> Any:
    response = jsonify({"error": error.as_dict()})
    response.status_code = status
    return response


def from_environment() -> Flask:
    """The application of this process's environment: what gunicorn calls. Raises ConfigError."""
    from cc import settings as configuration

    settings = configuration.load(os.environ)
    return create_app(identity(os.environ, settings.project))
