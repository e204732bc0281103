"""The learning platform's front door; replace it by your own application."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from academy.providers import PaymentProvider


def init_app(
    app: Flask, authorize: Callable[[str], None], provider: PaymentProvider | None = None
) -> None:
    """Mount /api/academy/ on an app.

    Args:
        authorize: called with a role inside a request; raises werkzeug's Unauthorized or Forbidden
            when the caller does not have it.
        provider: who takes the money; without one the demo's, and none where the app is deployed.
    """
    from academy import providers, routes, services  # here: a bare import loads nothing
    from tasks import huey, settings

    deployed = settings.get().deployed
    chosen = provider or (providers.NoProvider() if deployed else providers.DemoProvider())
    app.extensions["academy"] = routes.Academy(
        services.UserService(), services.AuthService(), services.EnrollmentService(),
        services.PaymentService(chosen), authorize, huey.observe,
    )  # fmt: skip
    app.register_blueprint(routes.blueprint)
