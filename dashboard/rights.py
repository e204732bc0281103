"""ACTIONS: everything an operator does, with the role it needs, its effect and its undo. One table of rights."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.auth import Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing an operator does.

    Args:
        scope: what it acts on: job, queue, task, tag, periodic, worker, operation, email, address,
            jobs (in bulk), alert, channel, account.
        states: the job states it applies to; empty means any.
        effect: what the button says it will do. undo: the action that takes it back, if there is one.
        danger: asked once more on a page of its own.
    """

    name: str
    label: str
    role: str
    scope: str
    effect: str
    states: tuple[str, ...] = ()
    undo: str = ""
    danger: bool = False


IN_A_ROW = {
    "failed": ("retry",),
    "cancelled": ("retry",),
}  # of a job table; other states: see row_acts
ON_REDIS = ("queue", "task", "tag", "periodic", "worker", "error", "operation", "jobs")
"""Scopes whose acts change nothing while Redis is away; a job or a mail may be in the outbox."""
FINAL_STATES = ("completed", "failed", "cancelled")
NOT_STARTED = ("scheduled", "waiting", "retrying")
ACTIONS: tuple[Action, ...] = (
    Action(name="retry", label="Retry", role="operator", scope="job", effect="runs the job again",
           states=("failed", "cancelled", "completed", "retrying")),
    Action(name="edit_retry", label="Edit and retry", role="admin", scope="job",
           effect="runs the job again with other arguments", states=FINAL_STATES),
    Action(name="queue_job", label="Queue", role="operator", scope="task", effect="queues a job of a task"),
    Action(name="queue_secret_job", label="Queue", role="admin", scope="task",
           effect="queues a job of a task that takes secret arguments"),
    Action(name="reveal", label="Reveal", role="admin", scope="job", effect="shows the job's secret arguments"),
    Action(name="run_now", label="Run now", role="operator", scope="job", effect="makes the job ready now",
           states=("scheduled", "retrying")),
    Action(name="cancel", label="Cancel", role="operator", scope="job", effect="takes the job out of its queue",
           states=("scheduled", "waiting", "active", "retrying")),
    Action(name="delete", label="Delete", role="operator", scope="job", effect="removes the job and its history",
           states=FINAL_STATES, danger=True),
    Action(name="reschedule", label="Reschedule", role="operator", scope="job", effect="sets when the job runs",
           states=NOT_STARTED),
    Action(name="set_priority", label="Change priority", role="operator", scope="job",
           effect="lets the job run before or after others", states=NOT_STARTED),
    Action(name="move", label="Move", role="operator", scope="job", effect="moves the job to another queue",
           states=NOT_STARTED),
    Action(name="tag", label="Tag", role="operator", scope="job", effect="gives the job tags", undo="untag"),
    Action(name="untag", label="Untag", role="operator", scope="job", effect="takes tags from the job", undo="tag"),
    Action(name="patch", label="Change an argument", role="admin", scope="job",
           effect="changes one argument of the job", states=(*NOT_STARTED, "failed", "cancelled")),
    Action(name="bulk", label="Start", role="operator", scope="jobs", effect="acts on every job of the query"),
    Action(name="bulk_patch", label="Change an argument", role="admin", scope="jobs",
           effect="changes one argument of every job of the query"),
    Action(name="empty", label="Empty", role="admin", scope="queue",
           effect="removes every waiting job of the queue", danger=True),
    Action(name="export", label="Export", role="viewer", scope="jobs", effect="lists every job of the query in a file"),
    Action(name="search", label="Search all", role="viewer", scope="jobs",
           effect="looks at every job for the query; what it found is kept"),
    Action(name="download_export", label="Download", role="viewer", scope="operation", effect="sends the file"),
    Action(name="export_audit", label="Download", role="viewer", scope="account", effect="sends the acts as a file"),
    Action(name="undo_operation", label="Undo", role="operator", scope="operation",
           effect="takes back what an operation did, where that is possible"),
    Action(name="stop_operation", label="Stop", role="operator", scope="operation", effect="stops after this chunk"),
    Action(name="pause_operation", label="Pause", role="operator", scope="operation",
           effect="pauses after this chunk", undo="resume_operation"),
    Action(name="resume_operation", label="Resume", role="operator", scope="operation", effect="goes on",
           undo="pause_operation"),
    Action(name="pause", label="Pause", role="operator", scope="queue", effect="takes no more jobs from the queue",
           undo="resume"),
    Action(name="resume", label="Resume", role="operator", scope="queue", effect="takes jobs again", undo="pause"),
    Action(name="pause_task", label="Pause", role="operator", scope="task", effect="starts no more jobs of the task",
           undo="resume_task"),
    Action(name="resume_task", label="Resume", role="operator", scope="task", effect="starts its jobs again",
           undo="pause_task"),
    Action(name="pause_tag", label="Pause", role="operator", scope="tag", effect="starts no more jobs with the tag",
           undo="resume_tag"),
    Action(name="resume_tag", label="Resume", role="operator", scope="tag", effect="starts its jobs again",
           undo="pause_tag"),
    Action(name="mute_group", label="Mute", role="operator", scope="error", effect="says nothing of the group for a while",
           undo="reopen_group"),
    Action(name="resolve_group", label="Resolve", role="operator", scope="error",
           effect="calls the group solved; its next failure brings it back", undo="reopen_group"),
    Action(name="reopen_group", label="Reopen", role="operator", scope="error", effect="opens the group again"),
    Action(name="note_group", label="Note", role="operator", scope="error", effect="writes a note on the group"),
    Action(name="save_view", label="Save view", role="viewer", scope="view", effect="keeps the search for everybody"),
    Action(name="delete_view", label="Delete view", role="viewer", scope="view",
           effect="takes the view away; another's needs admin"),
    Action(name="set_limits", label="Change limits", role="operator", scope="queue",
           effect="changes concurrency, rate or retention now"),
    Action(name="probe", label="Try now", role="operator", scope="queue", effect="lets one job try the outside now"),
    Action(name="run_periodic", label="Run now", role="operator", scope="periodic", effect="runs the task beside its ticks"),
    Action(name="disable_periodic", label="Turn off", role="operator", scope="periodic",
           effect="lets its ticks pass", undo="enable_periodic"),
    Action(name="enable_periodic", label="Turn on", role="operator", scope="periodic",
           effect="fires its ticks again", undo="disable_periodic"),
    Action(name="quiet", label="Quiet", role="operator", scope="worker", effect="takes nothing new", undo="wake"),
    Action(name="wake", label="Resume", role="operator", scope="worker", effect="takes jobs again", undo="quiet"),
    Action(name="stop", label="Stop after current", role="operator", scope="worker", effect="finishes what runs, then ends"),
    Action(name="stop_now", label="Stop now", role="operator", scope="worker",
           effect="ends at once; what runs goes back to waiting", danger=True),
    Action(name="send_email", label="Send", role="operator", scope="email", effect="queues a mail"),
    Action(name="resend", label="Send again", role="operator", scope="email", effect="sends a new copy"),
    Action(name="release", label="Release", role="operator", scope="email",
           effect="sends a held mail after all; it may arrive twice"),
    Action(name="suppress", label="Suppress", role="operator", scope="address", effect="stops all mail to the address",
           undo="lift"),
    Action(name="lift", label="Lift", role="operator", scope="address", effect="lets mail go there again",
           undo="suppress"),
    Action(name="save_rule", label="Save alert rule", role="admin", scope="alert", effect="makes or changes an alert rule"),
    Action(name="suggested_rules", label="Add suggested rules", role="admin", scope="alert",
           effect="makes the rules that are suggested; they tell nobody yet"),
    Action(name="delete_rule", label="Delete alert rule", role="admin", scope="alert",
           effect="removes the rule; its history stays", danger=True),
    Action(name="enable_rule", label="Turn on alert rule", role="admin", scope="alert", effect="looks at the rule each minute",
           undo="disable_rule"),
    Action(name="disable_rule", label="Turn off alert rule", role="admin", scope="alert", effect="looks at the rule no more",
           undo="enable_rule"),
    Action(name="mute_rule", label="Mute alert", role="operator", scope="alert", effect="tells nobody of the rule until a time",
           undo="unmute_rule"),
    Action(name="unmute_rule", label="Unmute alert", role="operator", scope="alert", effect="tells of the rule again"),
    Action(name="acknowledge_incident", label="Acknowledge alert", role="operator", scope="alert",
           effect="says that somebody is on it"),
    Action(name="save_channel", label="Save alert channel", role="admin", scope="channel", effect="says where alerts go"),
    Action(name="delete_channel", label="Delete alert channel", role="admin", scope="channel",
           effect="removes the channel from every rule", danger=True),
    Action(name="test_channel", label="Send a test", role="admin", scope="channel", effect="sends a test to the channel"),
    Action(name="create_operator", label="Add operator", role="admin", scope="account", effect="gives a person a login"),
    Action(name="set_role", label="Change role", role="admin", scope="account", effect="gives a person another role"),
    Action(name="disable", label="Disable", role="admin", scope="account", effect="ends a person's access at once",
           undo="enable"),
    Action(name="enable", label="Enable", role="admin", scope="account", effect="lets a person sign in again",
           undo="disable"),
    Action(name="reset_password", label="Set password", role="admin", scope="account",
           effect="gives a person another password"),
    Action(name="change_password", label="Change password", role="viewer", scope="account",
           effect="changes your own password"),
    Action(name="end_sessions", label="End other sessions", role="viewer", scope="account",
           effect="signs you out everywhere else"),
    Action(name="create_token", label="Make token", role="admin", scope="account", effect="makes an API token"),
    Action(name="revoke_token", label="Revoke", role="admin", scope="account", effect="ends an API token"),
)  # fmt: skip
BY_NAME = {action.name: action for action in ACTIONS}


def may(actor: Actor | None, name: str) -> bool:
    """Tell whether this actor may do an action: asked by button, page and API alike."""
    return actor is not None and actor.may(BY_NAME[name].role)


def target_kind(name: str, outcome: str) -> str:
    """Return what the audit's target of an act is, such as a job; nothing where ACTIONS has none of it."""
    if name == "duplicate" or (name in ("queue_job", "queue_secret_job") and outcome == "done"):
        return "job"
    return BY_NAME[name].scope if name in BY_NAME else ""


def applies(name: str, state: str) -> bool:
    """Tell whether an action applies to a job in this state."""
    states = BY_NAME[name].states
    return not states or state in states


def row_acts(actor: Actor | None) -> dict[str, list[Action]]:
    """Return what this actor may do at once to a row of a job table, by the job's state."""
    return {
        state: [BY_NAME[name] for name in IN_A_ROW.get(state, ("run_now", "cancel"))
                if may(actor, name) and applies(name, state)]
        for state in (*NOT_STARTED, "active", "failed", "cancelled")
    }  # fmt: skip
