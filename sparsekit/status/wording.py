"""Numbers and errors in a form for people."""

from __future__ import annotations

TRACEBACK = "Traceback (most recent call last):"
UNITS = ("B", "kB", "MB", "GB", "TB")


def duration(seconds: float) -> str:
    """Format a time in its two largest units.

    >>> duration(7.4), duration(83), duration(3 * 3600 + 120), duration(200_000)
    ('7s', '1m23s', '3h02m', '2d07h')
    """
    whole = max(0, round(seconds))
    for size, large, step, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= size:
            return f"{whole // size}{large}{whole % size // step:02d}{small}"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def size(num_bytes: float) -> str:
    """Format a number of bytes with three digits, by thousands.

    >>> size(999), size(1500), size(36_300_000), size(5e15)
    ('999 B', '1.5 kB', '36.3 MB', '5000.0 TB')
    """
    unit = 0
    while num_bytes >= 1000 and unit < len(UNITS) - 1:
        num_bytes, unit = num_bytes / 1000, unit + 1
    return f"{num_bytes:.0f} B" if unit == 0 else f"{num_bytes:.1f} {UNITS[unit]}"


def plural(count: int, noun: str) -> str:
    """Format a count and its noun.

    >>> plural(1, "run"), plural(3, "run")
    ('1 run', '3 runs')
    """
    return f"{count} {noun}{'s' * (count != 1)}"


def first_line(text: str) -> str:
    """Return the first line that is not blank.

    >>> first_line("\\n no\\nmore")
    'no'
    """
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def cause(error: str) -> str:
    """Return the error that a traceback ends with; of several tracebacks, the last one's.

    >>> cause("Traceback (most recent call last):\\n  File ...\\nValueError: no\\nmore")
    'ValueError: no'
    """
    last = error.rpartition(TRACEBACK)[2]
    return next((line for line in last.splitlines() if line and not line.startswith(" ")), "")


def brief(reason: str, error: str | None) -> str:
    """Say in one line why a run is not done.

    >>> brief("1 of 2 fits failed\\nand more", f"{TRACEBACK}\\n  File ...\\nValueError: no")
    '1 of 2 fits failed: ValueError: no'
    """
    line, root = first_line(reason), cause(error or "")
    return f"{line}: {root}" if root and not root.endswith(line) else line
