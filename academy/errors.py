"""What the services refuse, each with a sentence for the person who asked."""

from __future__ import annotations


class AcademyError(Exception):
    """Base of every refusal; `status` is its HTTP status, `title` its name there."""

    status = 400
    title = "Refused"


class NotFound(AcademyError):
    """There is no such thing."""

    status, title = 404, "Not found"


class Conflict(AcademyError):
    """The thing's state does not allow it."""

    status, title = 409, "Conflict"


class WrongProof(AcademyError):
    """A code or link is wrong, used or expired; which of them is not said."""

    status, title = 422, "Not accepted"


class ProviderAway(AcademyError):
    """The payment provider cannot be asked."""

    status, title = 503, "Payment provider not available"
