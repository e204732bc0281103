"""Who is there: passwords, sessions, tokens, roles, the throttle of sign-ins."""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import argon2
from flask import Flask, current_app, g, request, session
from flask_login import LoginManager, UserMixin, login_user, logout_user
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.exc import OperationalError

from dashboard.models import ROLES, ApiToken, LoginSession, Operator, SetupLink
from tasks import database, settings
from tasks.database import reading, utcnow
from tasks.settings import SettingsError

IDLE, ABSOLUTE, SETUP_LIFE = timedelta(minutes=30), timedelta(hours=12), timedelta(minutes=30)
HOSTED = "jobdeck.operator"  # who is there, where the app around the dashboard says it
SEEN_EACH = timedelta(seconds=60)
PER_ACCOUNT, PER_ADDRESS = RateLimitItemPerMinute(5), RateLimitItemPerMinute(20)
SHORTEST, LONGEST = 10, 256
WEAK = {
    "password12",
    "password123",
    "1234567890",
    "qwertyuiop",
    "academy123",
    "jobdeck123",
    "letmein123",
}
_hasher = argon2.PasswordHasher()
_at_once = threading.BoundedSemaphore(2)  # 64 MiB each
_nobody = _hasher.hash(secrets.token_hex(16))


class WrongPassword(ValueError):
    """A new password is refused; the text says what is accepted."""


class Throttled(Exception):
    """Too many sign-ins were tried."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: an operator in a browser, a bearer token, or the command line."""

    name: str
    role: str
    kind: str = "operator"
    id: int = 0

    def may(self, role: str) -> bool:
        """Tell whether this role covers `role`."""
        return role == "public" or (
            self.role in ROLES and ROLES.index(self.role) >= ROLES.index(role)
        )


class SignedIn(UserMixin):
    """Flask-Login's user: an operator within one session."""

    def __init__(self, operator: Operator, token: str) -> None:
        self.operator, self.token = operator, token

    def get_id(self) -> str:
        """Return the session's random id, which is what the cookie holds."""
        return self.token


def digest(token: str) -> str:
    """Return the SHA-256 under which a random token is kept."""
    return hashlib.sha256(token.encode()).hexdigest()


def check_password(password: str) -> None:
    """Refuse a password that is too short, too long or too common. Raises WrongPassword."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise WrongPassword(
            f"a password takes {SHORTEST} to {LONGEST} characters; this one has {len(password)}"
        )
    if password.lower() in WEAK or len(set(password)) < 4:
        raise WrongPassword("this password is among the first that anybody tries; choose another")


def hash_password(password: str) -> str:
    """Hash a new password with argon2id. Raises WrongPassword."""
    check_password(password)
    with _at_once:
        return _hasher.hash(password)


def _matches(stored: str, password: str) -> bool:
    with _at_once:
        try:
            return _hasher.verify(stored, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


# Each request asks this, so it is built once and is one statement.
BY_TOKEN = (
    select(LoginSession.id, LoginSession.seen_at, LoginSession.created_at, Operator)
    .join(Operator, Operator.id == LoginSession.operator_id)
    .where(LoginSession.token_hash == bindparam("digest"))
)


def init_app(app: Flask) -> None:
    """Join Flask-Login and the throttle to the app."""
    manager: Any = LoginManager(app)
    manager.user_loader(_load)
    manager.session_protection = None  # sessions are rows of ours
    app.extensions["throttle"] = MovingWindowRateLimiter(MemoryStorage())


def _load(token: str) -> SignedIn | None:
    """Return who a session id belongs to; ends idle and old sessions."""
    now = utcnow()
    with reading() as db:
        row = db.execute(BY_TOKEN, {"digest": digest(token)}).first()
    if row is None or row.Operator.disabled_at:
        return None
    if now - row.seen_at > IDLE or now - row.created_at > ABSOLUTE:
        return None
    if now - row.seen_at > SEEN_EACH:
        with database.session() as db:
            db.execute(update(LoginSession).where(LoginSession.id == row.id).values(seen_at=now))
    return SignedIn(row.Operator, token)


def throttle(email: str, address: str) -> None:
    """Count one try to sign in. Raises Throttled."""
    limiter: Any = current_app.extensions["throttle"]
    account = limiter.hit(PER_ACCOUNT, "account", email.lower()[:320])
    if not (limiter.hit(PER_ADDRESS, "address", address) and account):
        raise Throttled("too many tries; wait a minute and try again")


def sign_in(email: str, password: str) -> Operator | None:
    """Sign an operator in with a new session id; None for a wrong name or password alike.

    Raises: Throttled.
    """
    throttle(email, request.remote_addr or "")
    with reading() as db:
        operator = db.scalars(
            select(Operator).where(Operator.email == email.strip().lower())
        ).first()
    usable = operator if operator and not operator.disabled_at else None
    right = _matches(usable.password_hash if usable else _nobody, password[:LONGEST])
    if usable is None or not right:
        return None
    start_session(usable)
    return usable


def proves(operator_id: int, password: str) -> bool:
    """Tell whether this is the password of an operator."""
    with reading() as db:
        operator = db.get(Operator, operator_id)
    return _matches(operator.password_hash if operator else _nobody, password[:LONGEST])


def start_session(operator: Operator) -> None:
    """Begin a session under a new id, whatever the browser held before."""
    token = secrets.token_urlsafe(32)
    with database.session() as db:
        db.execute(delete(LoginSession).where(LoginSession.created_at < utcnow() - ABSOLUTE))
        agent = (request.user_agent.string or "")[:200]
        db.add(LoginSession(token_hash=digest(token), operator_id=operator.id, agent=agent,
                            address=(request.remote_addr or "")[:64]))  # fmt: skip
    session.clear()
    login_user(SignedIn(operator, token))


def sign_out(token: str) -> None:
    """End a session on the server and in the browser."""
    with database.session() as db:
        db.execute(delete(LoginSession).where(LoginSession.token_hash == digest(token)))
    logout_user()
    session.clear()


def actor() -> Actor | None:
    """Return who makes this request: a bearer token first, then the session; None for nobody."""
    if "actor" not in g:
        g.actor = header_actor() if "Authorization" in request.headers else _from_session()
    found: Actor | None = g.actor
    return found


def header_actor() -> Actor | None:
    """Return who the request's bearer token speaks for."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token_actor(token.strip()) if kind.lower() == "bearer" else None


def _from_session() -> Actor | None:
    if HOSTED in request.environ:  # mounted in an app that knows its own people
        hosted: Actor | None = request.environ[HOSTED]
        return hosted
    from flask_login import current_user

    user = current_user._get_current_object()
    if not isinstance(user, SignedIn):
        return None
    return Actor(user.operator.email, user.operator.role, "operator", user.operator.id)


# Operators


def has_operator() -> bool:
    """Tell whether there is any operator."""
    with reading() as db:
        return bool(db.scalar(select(func.count()).select_from(Operator)))


def create_operator(email: str, password: str, role: str, name: str = "") -> Operator:
    """Make an operator. Raises ValueError for a wrong address, role or password, or a known address."""
    from tasks.mailer.messages import address

    email = address(email).lower()
    if role not in ROLES:
        raise ValueError(f"there is no role {role!r}; there are {', '.join(ROLES)}")
    hashed = hash_password(password)
    with database.session() as db:
        if db.scalars(select(Operator.id).where(Operator.email == email)).first():
            raise ValueError(f"{email} is an operator already")
        operator = Operator(email=email, role=role, name=name, password_hash=hashed)
        db.add(operator)
        db.flush()
        return operator


def check_first_operator(found: settings.Settings) -> None:
    """Refuse an ADMIN_EMAIL or ADMIN_PASSWORD that could make nobody. Raises SettingsError."""
    from tasks.mailer.messages import address

    if not found.admin_email:
        return
    try:
        address(found.admin_email)
        check_password(found.admin_password)
    except ValueError as exc:
        raise SettingsError(f"ADMIN_EMAIL and ADMIN_PASSWORD make no operator: {exc}") from exc


def first_operator() -> None:
    """Make the operator that ADMIN_EMAIL and ADMIN_PASSWORD name, if there is none. Raises SettingsError."""
    found = settings.get()
    if not (found.admin_email and found.admin_password):
        return
    try:
        if not has_operator():
            create_operator(found.admin_email, found.admin_password, "admin")
    except OperationalError:
        return  # no tables yet: the start after `flask db upgrade` makes it
    except ValueError as exc:
        if not has_operator():  # another process may have been first
            raise SettingsError(f"ADMIN_EMAIL and ADMIN_PASSWORD make no operator: {exc}") from exc


def setup_link() -> str | None:
    """Make a one-time link's token for the first operator; None when there is one. Older ones die."""
    if has_operator():
        return None
    token = secrets.token_urlsafe(32)
    with database.session() as db:
        db.execute(delete(SetupLink))
        db.add(SetupLink(token_hash=digest(token), expires_at=utcnow() + SETUP_LIFE))
    return token


def setup_is_open(token: str) -> bool:
    """Tell whether a link still lets somebody become the first operator."""
    with reading() as db:
        link = db.get(SetupLink, digest(token))
    return link is not None and link.expires_at > utcnow() and not has_operator()


def use_setup(token: str, email: str, password: str, name: str = "") -> Operator | None:
    """Make the first operator, an admin; None when the link was used. Raises ValueError."""
    from tasks.mailer.messages import address

    email, hashed = address(email).lower(), hash_password(password)
    with database.session() as db:
        link = db.get(SetupLink, digest(token))
        taken = db.scalar(select(func.count()).select_from(Operator))
        if link is None or link.expires_at <= utcnow() or taken:
            return None
        db.execute(delete(SetupLink))
        operator = Operator(email=email, role="admin", name=name, password_hash=hashed)
        db.add(operator)
        db.flush()
        return operator


# Tokens


def create_token(name: str, role: str, owner: str) -> tuple[str, ApiToken]:
    """Make an API token. Returns: the token itself, shown this once, and its row. Raises ValueError."""
    if role not in ROLES:
        raise ValueError(f"there is no role {role!r}; there are {', '.join(ROLES)}")
    token = f"jd_{secrets.token_urlsafe(32)}"
    with database.session() as db:
        row = ApiToken(
            name=name[:80], prefix=token[:9], token_hash=digest(token), role=role, owner=owner
        )
        db.add(row)
        db.flush()
        return token, row


def tokens() -> list[ApiToken]:
    """Return all tokens, the newest first."""
    with reading() as db:
        return list(db.scalars(select(ApiToken).order_by(ApiToken.id.desc())))


def revoke_token(token_id: int) -> bool:
    """Revoke a token; False when there is none of that id."""
    with database.session() as db:
        row = db.get(ApiToken, token_id)
        if row is not None and row.revoked_at is None:
            row.revoked_at = utcnow()
        return row is not None


def token_actor(token: str) -> Actor | None:
    """Return who a token speaks for; None when it is unknown, revoked or its owner is disabled.

    It may no more than its owner may by now.
    """
    with reading() as db:
        row = db.scalars(select(ApiToken).where(ApiToken.token_hash == digest(token))).first()
        if row is None or row.revoked_at:
            return None
        owner = db.scalars(select(Operator).where(Operator.email == row.owner)).first()
        if row.owner != "cli" and (owner is None or owner.disabled_at):
            return None
    _note_use(row)
    role = min(row.role, owner.role, key=ROLES.index) if owner else row.role
    return Actor(f"token {row.name}", role, "token", row.id)


def owner_of(actor: Actor | None) -> str:
    """Return whose tokens are those that this actor makes; "cli" where no operator of ours is behind."""
    if actor is None or not actor.id:
        return "cli"
    if actor.kind == "operator":
        return actor.name
    with reading() as db:
        made_by = db.get(ApiToken, actor.id)
    return made_by.owner if made_by else "cli"


def _note_use(row: ApiToken) -> None:
    if row.last_used_at and utcnow() - row.last_used_at < SEEN_EACH:
        return
    with database.session() as db:
        db.execute(update(ApiToken).where(ApiToken.id == row.id).values(last_used_at=utcnow()))
