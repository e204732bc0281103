"""Drills: break it on purpose and count what was lost, what was doubled, and how long it took to heal."""
