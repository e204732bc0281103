"""The JSON endpoints under /api/academy/; each view says in `role` who may call it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Blueprint, Response, current_app, g, jsonify, request
from werkzeug.exceptions import BadRequest, Forbidden

from academy import problems, schemas
from academy.services import AuthService, EnrollmentService, PaymentService, UserService
from tasks import domain
from tasks.database import reading

BODY_LIMIT_BYTES = 1024 * 1024
NUMBER = f"<int(min=1, max={schemas.MOST}):number>"
blueprint = Blueprint("academy", __name__, url_prefix="/api/academy")
problems.register(blueprint)
Answer = tuple[Response, int]
View = TypeVar("View", bound=Callable[..., Any])
Body = TypeVar("Body", bound=schemas.Body)


@dataclass(frozen=True, slots=True)
class Academy:
    """What the views need of the app: its services and what asks for a caller's right."""

    users: UserService
    auth: AuthService
    enrollments: EnrollmentService
    payments: PaymentService
    authorize: Callable[[str], None]
    observe: Callable[[str, float], None]


def academy() -> Academy:
    """Return this app's academy."""
    found: Academy = current_app.extensions["academy"]
    return found


def role(name: str) -> Callable[[View], View]:
    """Say who may call a view: `public` is anyone."""

    def mark(view: View) -> View:
        view.role = name  # type: ignore[attr-defined]
        return view

    return mark


@blueprint.before_request
def check_right() -> None:
    """Ask for the caller's right; a view that names no role is refused to everyone."""
    g.academy_began = time.perf_counter()
    request.max_content_length = BODY_LIMIT_BYTES
    needed = getattr(current_app.view_functions[request.endpoint or ""], "role", None)
    if needed is None:
        raise Forbidden("this address names no role that may call it")
    if needed != "public":
        academy().authorize(needed)


@blueprint.after_request
def observe(response: Response) -> Response:
    """Keep the server time of each answer, for the KPI."""
    began = g.pop("academy_began", None)
    if began is not None:
        academy().observe("api", (time.perf_counter() - began) * 1000)
    return response


def body(model: type[Body]) -> Body:
    """Return the request's checked body; an empty one is `{}`. Raises what problems.py answers."""
    if not request.get_data(cache=True):
        return model.model_validate({})
    try:
        found = request.get_json()
    except RecursionError as exc:
        raise BadRequest("the body is nested too deep") from exc
    if not isinstance(found, dict):
        raise BadRequest("the body is not a JSON object")
    return model.model_validate(found)


@blueprint.post("/registrations")
@role("public")
def start_registration() -> Answer:
    """Send a code to an address."""
    given = body(schemas.Registration)
    academy().users.start_registration(given.email, given.name, given.locale, given.timezone)
    return jsonify({}), 202


@blueprint.post("/registrations/confirm")
@role("public")
def confirm_registration() -> Answer:
    """Take the code."""
    given = body(schemas.RegistrationCode)
    return jsonify(user_id=academy().users.confirm_registration(given.email, given.code)), 200


@blueprint.post("/password-resets")
@role("public")
def request_password_reset() -> Answer:
    """Send a link to an address."""
    academy().auth.request_password_reset(body(schemas.ResetRequest).email)
    return jsonify({}), 202


@blueprint.post("/password-resets/confirm")
@role("public")
def confirm_password_reset() -> Answer:
    """Take the link's token and the new password."""
    given = body(schemas.NewPassword)
    return jsonify(user_id=academy().auth.confirm_password_reset(given.token, given.password)), 200


@blueprint.get("/courses")
@role("operator")
def list_courses() -> Answer:
    """List the courses."""
    with reading() as db:
        found = domain.open_courses(db)
    items = [
        {"id": c.id, "slug": c.slug, "title": c.title, "price_minor": c.price_minor, "currency": c.currency}
        for c in found
    ]  # fmt: skip
    return jsonify(items=items), 200


@blueprint.post("/enrollments")
@role("operator")
def enroll() -> Answer:
    """Put a person into a course."""
    given = body(schemas.NewEnrollment)
    made = academy().enrollments.enroll(given.user_id, given.course_id)
    return jsonify(enrollment_id=made), 201


@blueprint.post(f"/enrollments/{NUMBER}/complete")
@role("operator")
def complete_enrollment(number: int) -> Answer:
    """Open the course for the person."""
    body(schemas.Nothing)
    academy().enrollments.complete_enrollment(number)
    return jsonify(enrollment_id=number, state="active"), 200


@blueprint.post(f"/enrollments/{NUMBER}/finish-course")
@role("operator")
def finish_course(number: int) -> Answer:
    """Note that the person finished the course."""
    body(schemas.Nothing)
    academy().enrollments.mark_course_completed(number)
    return jsonify(enrollment_id=number, state="completed"), 200


@blueprint.post("/payments")
@role("operator")
def create_payment() -> Answer:
    """Begin a payment."""
    given = body(schemas.NewPayment)
    made = academy().payments.create_payment(
        given.enrollment_id, given.amount_minor, given.currency
    )
    return jsonify(payment_id=made), 201


@blueprint.post(f"/payments/{NUMBER}/verify")
@role("operator")
def verify_payment(number: int) -> Answer:
    """Ask the provider how a payment stands."""
    found = academy().payments.verify_payment(number, body(schemas.Evidence).evidence)
    return jsonify(payment_id=number, state=found.state, receipt_no=found.receipt_no), 200
