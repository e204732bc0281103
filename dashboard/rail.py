"""PAGES: one row a page gives it its link in the rail, its key and its tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the rail; `group` is its heading there, empty for the first ones."""

    endpoint: str
    address: str
    title: str
    icon: str
    role: str = "viewer"
    group: str = ""
    key: str = ""


PAGES: tuple[Page, ...] = (
    Page("overview.show", "/", "Overview", "overview", key="o"),
    Page("jobs.table", "/jobs", "Jobs", "jobs", key="j"),
    Page("queues.table", "/queues", "Queues", "queues", key="q"),
    Page("tasks.table", "/tasks", "Tasks", "tasks", key="t"),
    Page("errors.table", "/errors", "Errors", "errors", key="r"),
    Page("emails.log", "/emails", "Mail log", "mail", group="Mail", key="e"),
    Page("emails.preview", "/emails/preview", "Preview", "eye", group="Mail"),
    Page("emails.suppressions", "/emails/suppressions", "Suppressions", "ban", group="Mail"),
    Page("workers.table", "/workers", "Workers", "chip", group="Running", key="w"),
    Page("periodic.table", "/periodic", "Periodic", "repeat", group="Running", key="s"),
    Page("batches.table", "/batches", "Batches", "layers", group="Running", key="b"),
    Page("operations.table", "/operations", "Operations", "sliders", group="Running", key="p"),
    Page("kpis.show", "/kpis", "KPIs", "target", group="Watching", key="m"),
    Page("alerts.table", "/alerts", "Alerts", "bell", group="Watching", key="l"),
    Page("audit.table", "/audit", "Audit", "receipt", group="Watching", key="a"),
    Page(
        "accounts.table", "/operators", "Operators", "user", role="admin", group="Watching", key="u"
    ),
)
