"""The demo's first data: courses to take and people who are there already. No past is made up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from tasks.database import insert_missing, session, utcnow
from tasks.domain import Course, User

COURSES = (
    ("applied-statistics", "Applied statistics", 124900),
    ("first-steps-in-python", "First steps in Python", 4900),
    ("interface-design", "Interface design", 29900),
    ("databases-from-the-inside", "Databases from the inside", 19900),
    ("writing-that-is-read", "Writing that is read", 0),
    ("machine-learning-by-hand", "Machine learning by hand", 89900),
)
PEOPLE = (
    ("Ada Lovelace", "ada@example.org", "en"),
    ("Grace Hopper", "grace@example.org", "en"),
    ("Zoë Łukasz", "zoe@example.com", "en"),
    ("Jürgen Groß", "juergen@example.net", "de"),
    ("Amara Okafor", "amara@example.org", "en"),
    ("Søren Ågård", "soeren@example.com", "en"),
    ("美咲 田中", "misaki@example.net", "en"),
    ("Noor van den Berg", "noor@example.org", "en"),
)


@dataclass(frozen=True, slots=True)
class Seeded:
    """How many rows there are now."""

    courses: int
    people: int


def seed() -> Seeded:
    """Make the courses and people that are missing; again changes nothing."""
    courses: list[dict[str, Any]] = [
        {"slug": slug, "title": title, "price_minor": price, "currency": "EUR"}
        for slug, title, price in COURSES
    ]
    people: list[dict[str, Any]] = [
        {"email": email, "name": name, "locale": locale, "password_hash": "", "state": "active",
         "created_at": utcnow()}
        for name, email, locale in PEOPLE
    ]  # fmt: skip
    with session() as db:
        insert_missing(db, Course, courses)
        insert_missing(db, User, people)
        return Seeded(
            db.scalar(select(func.count(Course.id))) or 0,
            db.scalar(select(func.count(User.id))) or 0,
        )
