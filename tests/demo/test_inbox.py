"""The demo inbox: it keeps real mail, shows it safely, and fails on demand."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from waiting import PATIENCE_S

from demo.inbox import store as stores
from demo.inbox.knobs import KnobBox, Knobs
from demo.inbox.smtp import Door
from demo.inbox.store import Store
from demo.inbox.web import create_app


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "inbox")


@pytest.fixture
def knobs() -> KnobBox:
    return KnobBox()


@pytest.fixture
def door(store: Store, knobs: KnobBox) -> Iterator[Door]:
    door = Door(store, knobs, port=0)
    door.start()
    yield door
    door.stop()


@pytest.fixture
def client(store: Store, knobs: KnobBox) -> FlaskClient:
    return create_app(store, knobs).test_client()


def deliver(door: Door, to: str = "ada@example.org", subject: str = "Grüße") -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "school@example.org", to, subject
    mail.set_content("Hello Ada")
    mail.add_alternative("<p>Hello <b>Ada</b><script>alert(1)</script></p>", subtype="html")
    with smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE_S) as smtp:
        smtp.send_message(mail)


def token(client: FlaskClient) -> str:
    page = client.get("/").get_data(as_text=True)
    return page.partition('name="token" value="')[2].partition('"')[0]


def test_a_mail_arrives_and_reads_as_html_text_headers_and_source(
    door: Door, client: FlaskClient
) -> None:
    deliver(door)
    (item,) = client.get("/api/messages?to=ada").get_json()["items"]
    assert (item["to"], item["subject"]) == (["ada@example.org"], "Grüße")
    whole = client.get(f"/api/messages/{item['id']}").get_json()
    assert whole["text"].strip() == "Hello Ada"
    assert "<b>Ada</b>" in whole["html"]
    assert ["From", "school@example.org"] in whole["headers"]
    assert "Subject: =?utf-8?" in whole["source"]
    assert client.get("/api/messages?to=grace").get_json() == {"items": [], "total": 0}


def test_the_mails_own_html_is_locked_in_a_sandbox(door: Door, client: FlaskClient) -> None:
    deliver(door)
    name = client.get("/api/messages").get_json()["items"][0]["id"]
    page = client.get(f"/messages/{name}")
    assert 'sandbox="allow-popups' in page.get_data(as_text=True)
    assert "alert(1)" not in page.get_data(as_text=True)
    policy = client.get(f"/messages/{name}/body").headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("view", ["html", "text", "headers", "source"])
def test_each_view_of_a_mail_is_a_page(door: Door, client: FlaskClient, view: str) -> None:
    deliver(door)
    name = client.get("/api/messages").get_json()["items"][0]["id"]
    assert client.get(f"/messages/{name}?view={view}").status_code == 200


@pytest.mark.parametrize(("refuse", "code"), [("rcpt4", 451), ("rcpt5", 550), ("data4", 451)])
def test_a_refusal_answers_with_its_code(
    door: Door, knobs: KnobBox, store: Store, refuse: Any, code: int
) -> None:
    knobs.now = Knobs(refuse=refuse)
    with pytest.raises((smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError)) as caught:
        deliver(door)
    answers = getattr(caught.value, "recipients", {"": (getattr(caught.value, "smtp_code", 0),)})
    assert [answer[0] for answer in answers.values()] == [code]
    assert store.find()[1] == 0
    knobs.now = Knobs()
    deliver(door)
    assert store.find()[1] == 1


def test_refusing_to_connect_closes_before_the_greeting(door: Door, knobs: KnobBox) -> None:
    knobs.now = Knobs(refuse="connect")
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        deliver(door)


@pytest.mark.parametrize("command", ["noop", "mail"])
def test_refusing_to_connect_also_ends_the_connections_it_had(
    door: Door, knobs: KnobBox, command: str
) -> None:
    with smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE_S) as kept_alive:
        kept_alive.noop()
        knobs.now = Knobs(refuse="connect")
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            kept_alive.noop() if command == "noop" else kept_alive.mail("ada@example.org")


@pytest.mark.parametrize(
    ("phase", "kept"),
    [("connect", 0), ("mail", 0), ("rcpt", 0), ("data", 0), ("body", 0), ("dot", 1)],
)
def test_a_drop_closes_the_connection_in_its_phase(
    door: Door, knobs: KnobBox, store: Store, phase: Any, kept: int
) -> None:
    knobs.now = Knobs(drop=phase)
    with pytest.raises((smtplib.SMTPException, OSError)):
        deliver(door)
    assert store.find()[1] == kept


def test_nobody_lives_at_nobody_example(door: Door, store: Store) -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        deliver(door, "ada@nobody.example")
    assert store.find()[1] == 0


def test_faults_can_be_for_some_domains_only(door: Door, knobs: KnobBox, store: Store) -> None:
    knobs.now = Knobs(refuse="rcpt5", domains=("closed.example",))
    deliver(door, "ada@example.org")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        deliver(door, "ada@closed.example")
    assert store.find()[1] == 1


def test_the_knobs_are_read_and_turned_by_the_api(client: FlaskClient, knobs: KnobBox) -> None:
    wanted = {"refuse": "rcpt4", "delay_s": {"dot": 1.5}, "drop": None, "domains": ["a.example"]}
    assert client.put("/api/knobs", json=wanted).get_json() == wanted
    assert client.get("/api/knobs").get_json() == wanted
    assert knobs.now.refuse == "rcpt4"


@pytest.mark.parametrize(
    "body", [{"refuse": "everything"}, {"colour": 1}, {"delay_s": {"rcpt": -1}}, [], None]
)
def test_wrong_knobs_are_refused_with_their_name(client: FlaskClient, body: Any) -> None:
    answer = client.put("/api/knobs", json=body)
    assert answer.status_code == 422
    assert answer.get_json()["detail"]


def test_other_host_names_and_origins_and_forms_without_a_token_are_refused(
    client: FlaskClient,
) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    elsewhere = {"Origin": "http://evil.example"}
    assert client.put("/api/knobs", json={}, headers=elsewhere).status_code == 403
    assert client.delete("/api/messages", headers=elsewhere).status_code == 403
    assert client.post("/knobs", data={"preset": "Busy"}).status_code == 403


def test_the_forms_turn_a_knob_and_empty_the_inbox(
    door: Door, client: FlaskClient, knobs: KnobBox, store: Store
) -> None:
    deliver(door)
    held = token(client)
    client.post("/knobs", data={"token": held, "preset": "Busy", "domains": "A.example, b.example"})
    assert knobs.now == Knobs(refuse="rcpt4", domains=("a.example", "b.example"))
    assert "answers 451 at RCPT for a.example" in client.get("/").get_data(as_text=True)
    client.post("/clear", data={"token": held})
    assert store.find() == ([], 0)


def test_a_browser_may_send_the_forms(client: FlaskClient, knobs: KnobBox) -> None:
    page = client.get("/")
    # Under "no-referrer" browsers send `Origin: null` with a form, which is refused.
    assert page.headers["Referrer-Policy"] == "same-origin"
    own = {"Origin": "http://localhost"}
    form = {"token": token(client), "preset": "Unreachable"}
    assert client.post("/knobs", data=form, headers=own).status_code == 303
    assert knobs.now.refuse == "connect"


def test_only_the_newest_are_kept_and_a_restart_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "KEPT", 3)
    first = Store(tmp_path)
    for number in range(5):
        first.add("a@example.org", ["b@example.org"], b"Subject: %d\r\n\r\nx" % number)
    assert [mail.subject for mail in Store(tmp_path).find()[0]] == ["4", "3", "2"]
    assert len(list(tmp_path.glob("*.mail"))) == 3


def test_an_unknown_mail_is_not_found(client: FlaskClient) -> None:
    assert client.get("/api/messages/nothing").status_code == 404
    assert client.get("/messages/..%2f..%2fapp.db").status_code == 404
