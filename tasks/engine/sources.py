"""The texts of lua/*.lua as Redis gets them: includes put in, what is not called left out, keys named.

What a worker calls for each job is also a function of Redis 7, which defines its parts once and not in
each call; see docs/decisions/0023.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

from tasks.engine.keys import lua_filled

FOLDER = Path(__file__).parent / "lua"
COUNTS = "lib/counts"
WRITE = """local fine, answer = pcall(script)
write_counts()
if not fine then return type(answer) == 'table' and answer or {err = answer} end
return answer
"""
INCLUDE = re.compile(r"^--@include (\S+)$", re.MULTILINE)
COMMENT = re.compile(r"^--\[\[.*?^\]\]\n|^ *--[^\n]*\n", re.MULTILINE | re.DOTALL)
WORD = re.compile(r"\w+")
FUNCTION = re.compile(
    r"^local function (\w+)\((?:[^\n]*\bend$|.*?^end$)\n?", re.MULTILINE | re.DOTALL
)


@cache
def source(name: str) -> str:
    """Return the whole text of script `name`: each include once, then the script, key names filled in.

    One that may change a job's state becomes a function whose answer is given after its sets and
    counts were written, so that no early `return` and no error forgets them.
    """
    seen: list[str] = []

    def included(text: str) -> str:
        parts = []
        for wanted in INCLUDE.findall(text):
            if wanted not in seen:
                seen.append(wanted)
                found = (FOLDER / f"{wanted}.lua").read_text()
                parts += [included(found), INCLUDE.sub("", found)]
        return "\n".join(parts)

    own = (FOLDER / f"{name}.lua").read_text()
    before, body = included(own), INCLUDE.sub("", own)
    if COUNTS in seen:
        body = f"local function script()\n{body}\nend\n{WRITE}"
    text = needed(COMMENT.sub("", before), COMMENT.sub("", body))
    return lua_filled(text)


def needed(libs: str, body: str) -> str:
    """Leave out what the script never calls: each function costs time in each call."""
    functions = {found[1]: found[0] for found in FUNCTION.finditer(libs)}
    wanted: set[str] = set()
    look = [FUNCTION.sub("", libs), body]
    while look:
        named = set(WORD.findall(look.pop())) & functions.keys() - wanted
        wanted |= named
        look += [functions[name] for name in named]
    kept = FUNCTION.sub(lambda found: found[0] if found[1] in wanted else "", libs)
    return f"{kept}\n{body}"


@cache
def sha(name: str) -> str:
    """Return the SHA-1 by which Redis knows script `name`; versions live side by side."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


FUNCTIONS = frozenset({"fetch", "finish", "finish_and_fetch"})
LIBRARIES = "jobdeck_"
EXCEEDS = "may_exceed_memory()\n"  # a function says so by its flag
# What a script remembers during one call: names of capitals that begin as nothing, as {} or as 0.
FRESH = r"(?:nil|0|\{\})"
REMEMBERED = re.compile(
    rf"^local ([A-Z]\w*(?:, \w+)*)(?: = ({FRESH}(?:, {FRESH})*))?(?: --.*)?$", re.MULTILINE
)


@cache
def library(name: str) -> tuple[str, str]:
    """Return the name of the function that does what script `name` does, and the library of it.

    The library carries the function's name; its parts live from one call to the next, so what they
    remember is made anew before each.
    """
    text = source(name)
    parts = text.removeprefix("local P=KEYS[1]\n").removesuffix(WRITE).replace(EXCEEDS, "")
    begin = [_anew(found) for found in REMEMBERED.finditer(parts)]
    parts = REMEMBERED.sub(lambda found: f"local {found[1]}", parts)
    known = f"{LIBRARIES}{sha(name)[:16]}"
    return known, (
        f"#!lua name={known}\nlocal P, KEYS, ARGV\n{parts}"
        f"local function begin(keys, argv)\nP, KEYS, ARGV = keys[1], keys, argv\n{''.join(begin)}end\n"
        f"local function called(keys, argv)\nbegin(keys, argv)\n{WRITE}end\n"
        f"redis.register_function{{function_name='{known}', callback=called, flags={{'allow-oom'}}}}\n"
    )


def _anew(found: re.Match[str]) -> str:
    return f"{found[1]} = {found[2] or 'nil'}\n"
