"""The pages: one module each, with its routes and what it reads."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Register every page and the ones that the rail does not show."""
    from dashboard import public
    from dashboard.views import (
        accounts,
        alert_channels,
        alerts,
        api_docs,
        audit,
        batches,
        emails,
        errors,
        job,
        job_forms,
        kpis,
        manual,
        metrics,
        operations,
        overview,
        pauses,
        people,
        periodic,
        queues,
        sign_in,
        tasks,
        workers,
    )

    for module in (
        public,
        sign_in,
        overview,
        job,  # the blueprint of jobs, with the addresses of one job
        job_forms,
        queues,
        tasks,
        errors,
        kpis,
        alerts,
        alert_channels,
        metrics,
        emails,
        people,
        workers,
        pauses,
        periodic,
        batches,
        operations,
        audit,
        accounts,
        manual,
        api_docs,
    ):
        app.register_blueprint(module.bp)
