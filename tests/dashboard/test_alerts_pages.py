"""The pages of alerts: rules with a preview, channels, what fires, mute, history; for each role."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from alerting import audit, ending, incidents, make_mail, make_rule, rule_of, text
from browsing import Browser
from flask import Flask
from playwright.sync_api import expect

from tasks import database as db
from tasks.alerts import evaluation, models, rules
from tasks.alerts.measures import MEASURES, Seen
from tasks.database import utcnow
from tasks.engine import JobHuey

FORM = {
    "measure": "failed_share", "measured": "1", "name": "Sync fails", "target": "queue:sync", "comparison": "over",
    "threshold": "12,5", "over_minutes": "15", "for_minutes": "0", "least_samples": "3", "severity": "critical",
    "enabled": "1",
}  # fmt: skip


@pytest.fixture
def ends(huey: JobHuey) -> Iterator[Callable[..., None]]:
    with ending(huey) as run:
        yield run


def fire(rule: models.AlertRule, value: float = 11) -> models.AlertIncident:
    """Let a rule fire."""
    with db.session() as session:
        minute = utcnow().replace(second=0, microsecond=0)
        assert evaluation.settle(session, rule.id, Seen(value, 100), minute) == "firing"
    return incidents()[-1]


def test_with_no_rule_six_are_suggested_and_made_by_one_click(admin: Browser) -> None:
    page = admin.get("/alerts").text
    assert "No rule is made yet" in page
    assert "Add these 6 rules" in page
    assert admin.post("/alerts/suggested").status_code == 303
    with db.reading() as session:
        made = models.rules(session)
    assert [rule.name for rule in made] == sorted(one.name for one in rules.SUGGESTIONS)
    assert all(rule.channels == [] for rule in made), "none tells anybody"
    page = text(admin.get("/alerts").text)
    assert "No rule tells anybody" in page
    assert "No rule was looked at yet" in page
    admin.post("/alerts/suggested")
    assert "the suggested rules are there" in admin.get("/alerts").text


def test_a_rule_is_made_with_what_the_form_says_and_the_audit_has_it(admin: Browser) -> None:
    channel = make_mail()
    assert "Failed share" in admin.get("/alerts/new").text
    assert admin.get("/alerts/new?measure=failed_share").status_code == 200
    answer = admin.post("/alerts/new", FORM | {"channel": str(channel.id)})
    assert answer.status_code == 303
    with db.reading() as session:
        (rule,) = models.rules(session)
    assert (rule.target, rule.threshold, rule.least_samples) == ("queue:sync", 0.125, 3)
    assert answer.location == f"/alerts/{rule.id}"
    action, outcome, detail = audit()[-1]
    assert (action, outcome) == ("save_rule", "done")
    assert (detail["after"]["threshold"], detail["after"]["channels"]) == (0.125, ["On call"])
    admin.post(f"/alerts/{rule.id}", FORM | {"threshold": "20", "name": "Sync fails much"})
    detail = audit()[-1][2]
    assert (detail["before"]["threshold"], detail["after"]["threshold"]) == (0.125, 0.2)
    assert detail["message"] == "Rule Sync fails much changed: name, threshold, channels"
    page = text(admin.get("/alerts").text)
    assert (
        "Sync fails much critical Failed share of queue sync: over 20 % in 15 min, of at least 3 finished jobs"
        in page
    )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("threshold", "lots", "per cent, such as 5"),
        ("threshold", "-1", "at least 0"),
        ("threshold", "nan", "finite"),
        ("over_minutes", "90000", "at most 1440"),
        ("over_minutes", "x", "a whole number"),
        ("target", "queue:none", "there is no queue"),
        ("target", "kpi:none", "is asked of"),
        ("name", "", "a name is expected"),
        ("severity", "loud", "one of"),
        ("channel", "77", "there is no channel 77"),
    ],
)
def test_what_is_wrong_in_a_form_is_said_at_its_field_and_nothing_is_made(
    admin: Browser, field: str, value: str, said: str
) -> None:
    answer = admin.post("/alerts/new", FORM | {field: value})
    assert answer.status_code == 422
    assert said in answer.text.replace("&#39;", "'")
    assert "Sync fails" in answer.text or field == "name", "what was typed stays"
    with db.reading() as session:
        assert models.rules(session) == []


def test_two_rules_do_not_share_a_name(admin: Browser) -> None:
    admin.post("/alerts/new", FORM)
    assert (
        "there is one named Sync fails already"
        in admin.post("/alerts/new", FORM | {"name": "sync FAILS"}).text
    )


def test_the_preview_says_how_often_it_would_have_fired_also_without_script(
    admin: Browser, ends: Callable[..., None]
) -> None:
    ends(well=3, failed=1)
    answer = admin.post("/alerts/new", FORM | {"preview": "1"})
    assert answer.status_code == 200
    assert "Would have fired once" in answer.text
    assert "and still now" in answer.text
    assert "The condition holds" in answer.text
    with db.reading() as session:
        assert models.rules(session) == [], "looking makes nothing"
    part = admin.client.get(
        "/alerts/preview", query_string=FORM | {"threshold": "30"}, headers={"HX-Request": "true"}
    )
    assert "Would not have fired" in part.text
    assert "<html" not in part.text
    part = admin.client.get(
        "/alerts/preview", query_string=FORM | {"threshold": "x"}, headers={"HX-Request": "true"}
    )
    assert "threshold" in part.text


@pytest.mark.parametrize("measure", ["breaker", "workers", "missed", "unserved", "memory"])
def test_of_what_no_past_is_kept_the_preview_says_so(admin: Browser, measure: str) -> None:
    page = admin.get(f"/alerts/new?measure={measure}").text
    assert "No past is kept of this" in page
    assert "Would" not in text(page).split("This week")[1].split("Now:")[0]


def test_what_fires_comes_first_with_who_is_on_it_and_on_the_overview(
    admin: Browser, app: Flask
) -> None:
    calm = make_rule("oldest", name="Calm")
    loud = make_rule("waiting", name="Backlog", threshold=10, for_minutes=0, severity="critical",
                     channels=[make_mail().id])  # fmt: skip
    fire(loud)
    page = admin.get("/alerts").text
    assert "Backlog fires since" in page
    assert page.index("Backlog") < page.index(f"/alerts/{calm.id}")
    assert "Nobody is on it yet" in page
    assert re.search(r'class="second"[^>]*>At [^:<]*\d\d:\d\d: Waiting jobs', page)
    app.extensions["watch"].forget()
    overview = admin.get("/").text
    assert "Backlog, since" in overview
    assert re.search(r'title="firing">1<', overview)
    incident = incidents()[0]
    admin.post(f"/alerts/incidents/{incident.id}/acknowledge")
    assert "Somebody is on it" in admin.get("/alerts").text
    admin.post(f"/alerts/incidents/{incident.id}/acknowledge")
    assert "is on it already" in admin.get("/alerts").text


@pytest.mark.parametrize("form", [{"for": "30m"}, {"for": "4h"}, {"for": "morning"}, {"until": "2126-11-24T08:00"},
                                  {"until": "soon"}, {"until": ""}])  # fmt: skip
def test_a_rule_is_muted_until_a_time_and_heard_again(
    enter: Callable[[str], Browser], app: Flask, form: dict[str, str]
) -> None:
    rule = make_rule("waiting", name="Backlog", threshold=10, for_minutes=0)
    fire(rule)
    operator = enter("operator")
    operator.post(f"/alerts/{rule.id}/mute", form)
    until = rule_of(rule).muted_until
    if "for" not in form:
        assert until is None
        assert 'data-kind="bad"' in operator.get("/alerts").text
        return
    assert until is not None
    assert timedelta(0) < until - utcnow() <= timedelta(days=1)
    assert incidents()[0].muted_by == "operator@example.org"
    app.extensions["watch"].forget()
    assert "Backlog, since" not in operator.get("/").text, "the overview is silent too"
    assert "muted until" in operator.get("/alerts").text
    operator.post(f"/alerts/{rule.id}/unmute")
    assert rule_of(rule).muted_until is None


def test_a_viewer_reads_everything_and_may_do_nothing(
    enter: Callable[[str], Browser], admin: Browser
) -> None:
    rule = make_rule(
        "waiting", name="Backlog", threshold=10, for_minutes=0, channels=[make_mail().id]
    )
    incident, viewer = fire(rule), enter("viewer")
    for path in (
        "/alerts",
        f"/alerts/{rule.id}",
        "/alerts/history",
        "/alerts/channels/1",
        "/alerts/new",
    ):
        assert viewer.get(path).status_code == 200, path
    page = viewer.get(f"/alerts/{rule.id}").text
    assert '<fieldset class="plain" disabled>' in page
    assert "needs the role admin" in page
    acts = [
        f"/alerts/{rule.id}/{what}" for what in ("mute", "unmute", "disable", "enable", "delete")
    ]
    for path in (*acts, "/alerts/suggested", "/alerts/channels/1/test", "/alerts/channels/1/delete",
                 f"/alerts/incidents/{incident.id}/acknowledge"):  # fmt: skip
        assert viewer.post(path, {"for": "30m"}).status_code == 403, path
    assert viewer.post("/alerts/new", FORM).status_code == 403
    assert (
        viewer.post(
            "/alerts/channels/new", {"kind": "mail", "name": "x", "addresses": "a@example.org"}
        ).status_code
        == 403
    )
    operator = enter("operator")
    assert operator.post("/alerts/new", FORM).status_code == 403
    assert operator.post(f"/alerts/{rule.id}/disable").status_code == 403
    assert operator.post(f"/alerts/{rule.id}/mute", {"for": "30m"}).status_code == 303


def test_a_rule_is_turned_off_and_on_and_deleted_after_it_was_asked(admin: Browser) -> None:
    rule = make_rule("waiting", name="Backlog", threshold=10, for_minutes=0)
    fire(rule)
    admin.post(f"/alerts/{rule.id}/disable")
    assert not rule_of(rule).enabled
    assert incidents()[0].ended == "off"
    admin.post(f"/alerts/{rule.id}/enable")
    assert rule_of(rule).enabled
    page = admin.get(f"/alerts/{rule.id}/delete").text
    assert "Delete 1 rule: Backlog" in page
    assert "What it fired stays in the history" in page
    assert admin.post(f"/alerts/{rule.id}/delete").location == "/alerts"
    assert admin.get(f"/alerts/{rule.id}").status_code == 404
    assert "rule deleted" in admin.get("/alerts/history").text


def test_the_history_pages_through_what_fired(admin: Browser) -> None:
    rule = make_rule("waiting", name="Backlog", threshold=10, for_minutes=0)
    with db.session() as session:
        found = session.get(models.AlertRule, rule.id)
        assert found is not None
        from tasks.alerts.incidents import begin, close

        for n in range(60):
            at = utcnow() - timedelta(hours=60 - n)
            found.muted_until = None
            incident = begin(session, found, Seen(11 + n), at)
            close(session, found, incident, at + timedelta(minutes=5), "well")
    page = admin.get("/alerts/history").text
    assert page.count("5 min<") == 50
    older = re.search(r'rel="next" href="([^"]+)"', page)
    assert older
    assert admin.get(older[1].replace("&amp;", "&")).text.count("5 min<") == 10


def test_with_redis_away_rules_are_read_and_nothing_is_guessed(
    admin: Browser, app: Flask, redis_server: Any
) -> None:
    rule = make_rule("failed_share", name="Jobs fail")
    admin.get("/")
    redis_server.stop()
    app.extensions["watch"]._made = 0.0
    page = admin.get(f"/alerts/{rule.id}").text
    assert "Not known while Redis is away" in page
    assert "Jobs fail" in admin.get("/alerts").text
    assert admin.post("/alerts/new", FORM).status_code == 503


# Channels


def test_rules_that_nobody_looks_at_are_said_to_be_so(admin: Browser) -> None:
    rule = make_rule("waiting", name="Backlog")
    with db.session() as session:
        found = session.get(models.AlertRule, rule.id)
        assert found is not None
        found.evaluated_at = utcnow() - timedelta(minutes=12)
    assert "No rule was looked at since" in admin.get("/alerts").text


def test_the_region_is_not_sent_twice_while_nothing_changed(admin: Browser) -> None:
    make_rule("waiting", name="Backlog")
    first = admin.get("/alerts", headers={"HX-Request": "true"})
    again = {"HX-Request": "true", "If-None-Match": first.headers["ETag"]}
    assert admin.get("/alerts", headers=again).status_code == 304
    make_rule("oldest", name="Old")
    assert admin.get("/alerts", headers=again).status_code == 200


@pytest.mark.parametrize("row", MEASURES, ids=lambda row: row.name)
def test_a_rule_leads_to_what_it_watches(admin: Browser, row: Any) -> None:
    targets = {
        "everything": "",
        "queue": "queue:email",
        "task": "task:tasks.reminders.scan",
        "kpi": "kpi:delivery_rate",
    }
    for scope in row.scopes:
        rule = make_rule(
            row.name,
            name=f"of {scope}",
            target=targets[scope],
            threshold=0,
            for_minutes=0,
            comparison="over",
        )
        fire(rule)
        page = admin.get(f"/alerts/{rule.id}").text
        link = re.search(r'<a class="button small" href="([^"]+)">(Show [^<]+)</a>', page)
        assert link, scope
        assert admin.get(link[1].replace("&amp;", "&")).status_code == 200, link[1]
        assert "Nobody is on it yet" in page


# In a browser


@pytest.mark.browser
def test_the_preview_follows_the_form_while_it_is_filled_in(
    page: Any, ends: Callable[..., None]
) -> None:
    ends(well=3, failed=1)
    page.goto("/alerts/new?measure=failed_share")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("Would not have fired")
    page.fill("#f-least_samples", "3")
    page.locator("#f-least_samples").blur()
    expect(preview).to_contain_text("Would have fired once")
    page.select_option("#f-target", "queue:email")
    expect(preview).to_contain_text("Would not have fired")
    page.fill("#f-threshold", "x")
    page.locator("#f-threshold").blur()
    expect(preview).to_contain_text("threshold, 'x' is not per cent")
    page.fill("#f-threshold", "5")
    page.select_option("#f-target", "queue:sync")
    expect(preview).to_contain_text("Would have fired once")
    page.get_by_role("button", name="Make rule").click()
    expect(page.locator(".toast")).to_contain_text("Rule Failed share made")
    with db.reading() as session:
        (rule,) = models.rules(session)
    assert (rule.target, rule.least_samples) == ("queue:sync", 3)


@pytest.mark.browser
def test_an_alert_is_acknowledged_and_muted_without_leaving_the_page(page: Any) -> None:
    rule = make_rule("waiting", name="Backlog", threshold=10, for_minutes=0)
    fire(rule)
    page.goto("/alerts")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator("main")).to_contain_text("admin@example.org is on it")
    page.get_by_role("button", name="Mute 30 min").click()
    expect(page.locator("main")).to_contain_text("muted until")
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="Mute 30 min")).to_be_visible()
    assert rule_of(rule).muted_until is None
