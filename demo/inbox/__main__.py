"""`python -m demo.inbox`: serve SMTP and the pages until SIGTERM."""

import signal
import sys

from demo.inbox.knobs import KnobBox
from demo.inbox.smtp import Door
from demo.inbox.store import Store
from demo.inbox.web import serve
from demo.stopping import Flag
from tasks import settings


def main() -> int:
    """Run the inbox. Returns the exit code."""
    stop = Flag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        found = settings.with_made(settings.load(settings.environment()))
    except settings.SettingsError as exc:
        print(exc, file=sys.stderr)
        return 2
    store, knobs = Store(found.data_dir / "inbox"), KnobBox()
    door = Door(store, knobs, port=found.inbox_smtp_port)
    door.start()
    pages = serve(store, knobs, port=found.inbox_port, dashboard=found.base_url)
    print(f"mail on 127.0.0.1:{found.inbox_smtp_port}, pages on {found.inbox_port}", flush=True)
    stop.wait()
    pages.shutdown()
    door.stop()
    return 0


sys.exit(main())
