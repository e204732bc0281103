"""The demo's mail inbox: a real SMTP server that keeps what it gets, pages to read it, and knobs.

It delivers nothing to anybody. It listens on loopback only.
"""
