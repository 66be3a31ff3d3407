"""An extension of griffe: the comment behind a field of a class becomes its text on the documentation site."""

import re
from typing import Any

from griffe import Class, Docstring, Extension

COMMENT = re.compile(r"  # (?!noqa|type: )(.+)$")


class TrailingComments(Extension):
    """Adds to the docstring of a class what the comments behind its public fields say."""

    def on_class_members(self, *, cls: Class, **_: Any) -> None:
        """Add a section of attributes, unless the docstring has one."""
        said = "" if cls.docstring is None else cls.docstring.value
        fields = [f"    {name}: {text}" for name, text in _comments_of(cls).items()]
        if fields and "Attributes:\n" not in said:
            text = "\n".join([said, "", "Attributes:", *fields])
            cls.docstring = Docstring(text.strip(), lineno=cls.lineno, parser="google", parent=cls)


def _comments_of(cls: Class) -> dict[str, str]:
    """Return the comments behind the public fields of a class by their names."""
    lines = cls.lines_collection[cls.filepath]  # type: ignore[index]  # a class is in one file
    found = {}
    for name, member in cls.members.items():
        is_field = member.is_attribute and "property" not in member.labels and not name.startswith("_")
        if is_field and member.endlineno is not None and (comment := COMMENT.search(lines[member.endlineno - 1])):
            found[name] = comment[1]
    return found
