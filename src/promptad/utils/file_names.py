"""Names of files and folders that Linux, macOS and Windows all take; Windows refuses the most."""

import re

FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)  # of Windows
BAD_END = re.compile(r"[. ]+$")  # Windows drops them
ALLOWED = 'without any of < > : " / \\ | ? *, a dot or space at its end, or a name of Windows such as CON'


def is_file_name(name: str) -> bool:
    """Whether every system takes a name for a file of one folder.

    >>> [is_file_name(name) for name in ("metal bracket", "metal:bracket", "..", "con.part")]
    [True, False, False, False]
    """
    return bool(name.strip()) and not (FORBIDDEN.search(name) or DEVICES.fullmatch(name) or BAD_END.search(name))


def as_file_name(name: str) -> str:
    """Return a name with `_` for what a system would refuse, and for the dots of a hidden file.

    >>> as_file_name("metal:bracket"), as_file_name("..a."), as_file_name("CON")
    ('metal_bracket', '_a_', '_CON')
    """
    plain = BAD_END.sub("_", re.sub(r"^\.+", "_", FORBIDDEN.sub("_", name)))
    return f"_{plain}" if not plain or DEVICES.fullmatch(plain) else plain
