"""What is done to accounts: operators, their passwords and sessions. Joined to ACTIONS by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dashboard import accounts, auth
from dashboard.accounts import LastAdmin
from dashboard.asking import Ask, Refused, Result
from dashboard.models import ROLES
from tasks.database import utcnow


def _change(ask: Ask, **values: Any) -> tuple[dict[str, Any], Any]:
    """Change the operator that the target names. Raises UnknownOperator, Refused."""
    try:
        return accounts.change(ask.target, **values)
    except LastAdmin as exc:
        raise Refused(f"Nothing changed: {exc}") from exc


def _set_role(ask: Ask) -> Result:
    role = str(ask.params["role"])
    if role not in ROLES:
        raise ValueError(f"there is no role {role!r}; there are {', '.join(ROLES)}")
    before, changed = _change(ask, role=role)
    return Result(message=f"{changed.email} is {role}", value=changed,
                  noted={"before": before, "after": {"role": role}})  # fmt: skip


def _disable(ask: Ask) -> Result:
    _, changed = _change(ask, disabled_at=utcnow())
    return Result(message=f"{changed.email} is disabled", value=changed)


def _enable(ask: Ask) -> Result:
    _, changed = _change(ask, disabled_at=None)
    return Result(message=f"{changed.email} may sign in again", value=changed)


def _reset_password(ask: Ask) -> Result:
    hashed = auth.hash_password(str(ask.params["password"]))
    _, changed = _change(ask, password_hash=hashed)
    return Result(message=f"{changed.email} has a new password", value=changed)


def _check_own(ask: Ask) -> None:
    """Refuse whoever has no account here: a token's id is no operator's. Raises Refused."""
    if ask.actor.kind != "operator" or not ask.actor.id:
        raise Refused("Nothing changed: your account is not kept here")


def _change_password(ask: Ask) -> Result:
    """Change one's own password, on proof of the old one; every session ends. Raises Throttled."""
    _check_own(ask)
    auth.throttle(ask.actor.name, str(ask.params["address"]))
    if not auth.proves(ask.actor.id, str(ask.params["old"])):
        raise Refused("Nothing changed: the old password is not that one")
    _change(ask, password_hash=auth.hash_password(str(ask.params["password"])))
    return Result(message="Your password is changed; your other sessions have ended")


def _end_sessions(ask: Ask) -> Result:
    _check_own(ask)
    ended = accounts.end_others(ask.actor.id, str(ask.params["token"]))
    return Result(message=f"{ended} other session{'' if ended == 1 else 's'} ended", value=ended)


DO: Mapping[str, Callable[[Ask], Result]] = {
    "set_role": _set_role, "disable": _disable, "enable": _enable,
    "reset_password": _reset_password, "change_password": _change_password,
    "end_sessions": _end_sessions,
}  # fmt: skip
