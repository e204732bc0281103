"""A TCP proxy before Redis that can stall, or cut a connection after the request went through."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time


class Proxy:
    """Forwards to `target`, on a port of its own where none is given; `stall`, `cut_one_in` and `delay_s` change what it does."""

    def __init__(self, target: int, port: int = 0) -> None:
        self.target, self.cut_one_in, self.cuts, self.delay_s = target, 0, 0, 0.0
        self._go = threading.Event()
        self._go.set()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self, on: bool) -> None:
        """Hold back every byte of both directions, or let them go."""
        if on:
            self._go.clear()
        else:
            self._go.set()

    def close(self) -> None:
        """Accept no more."""
        self._go.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        for source, sink, replies in ((client, server, False), (server, client, True)):
            threading.Thread(target=self._pump, args=(source, sink, replies), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, replies: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay_s)
                self._go.wait()
                if replies and self.cut_one_in and random.randrange(self.cut_one_in) == 0:
                    self.cuts += 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
