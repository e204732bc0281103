"""A traceback shows our own frames first and counts what it leaves out."""

from dashboard import traces

CHAINED = """Traceback (most recent call last):
  File "/app/tasks/first.py", line 1, in earlier
    raise ValueError()
ValueError

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/venv/lib/python3.12/site-packages/huey/api.py", line 453, in _execute
    task_value = task.execute()
                 ^^^^^^^^^^^^^^
  File "/venv/lib/python3.12/site-packages/huey/api.py", line 976, in execute
    return func(*args, **kwargs)
  File "/app/tasks/engine/running/attempts.py", line 166, in _said
    raise exc
  File "/app/tasks/emails.py", line 58, in deliver_email
    return delivery.deliver(email_id)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.12/smtplib.py", line 900, in sendmail
    raise SMTPDataError(code, resp)
smtplib.SMTPDataError: (550, 'no')
"""


def test_only_the_last_exception_of_a_chain_is_shown() -> None:
    found = traces.read(CHAINED)

    assert [frame.name for frame in found.own] == ["deliver_email"]
    assert found.own[0].code == "return delivery.deliver(email_id)"
    assert (found.own[0].path, found.own[0].line) == ("/app/tasks/emails.py", 58)


def test_frames_of_libraries_are_counted_by_package() -> None:
    assert traces.read(CHAINED).left_out == "4 library frames left out: huey 2, engine 1, smtplib 1"


def test_a_frame_without_its_source_shows_no_code_and_no_marks() -> None:
    text = 'Traceback (most recent call last):\n  File "/a/b.py", line 3, in f\n  File "/a/c.py", line 4, in g\n    ^^^\nE'

    assert [frame.code for frame in traces.read(text).own] == ["", ""]


def test_a_text_that_is_no_traceback_has_no_frames() -> None:
    assert traces.read("killed by the system") == traces.Trace((), "")
