"""The formats of shards: files of some records, written whole or not at all."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from promptad.errors import InputError
from promptad.integrations.object_stores import pyarrow_module
from promptad.runtime.records import NO_RECORD, PredictionRecord
from promptad.utils.files import whole_file


class ShardFormat(NamedTuple):
    """How a shard is written and read."""

    write: Callable[[Path, Sequence[PredictionRecord]], None]
    read: Callable[[Path], list[PredictionRecord]]
    is_unicode: bool  # whether it holds no other names


def check_names(shard_format: str, names: Sequence[str]) -> None:
    """Check that a format can hold the names of all pictures.

    Raises:
        InputError: one of them is no Unicode, as a file system may have it, and the format cannot hold that.
    """
    if not FORMATS[shard_format].is_unicode:
        return
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"`shard_format` {shard_format} holds Unicode alone, and the name {name!r} is none: rename the file, or"
                " take jsonl"
            ) from error


def write_shard(file: Path, records: Sequence[PredictionRecord]) -> None:
    """Write records into a file of the format that its suffix tells.

    Raises:
        InputError: the folder cannot be written to.
    """
    with whole_file(file, "output") as temporary:
        FORMATS[file.suffix.removeprefix(".")].write(temporary, records)


def read_shard(file: Path) -> list[PredictionRecord] | None:
    """Read such a file again; None if there is none, or it is damaged."""
    try:
        return FORMATS[file.suffix.removeprefix(".")].read(file)
    except (OSError, *NO_RECORD):  # pyarrow's errors are of these
        return None


def _write_lines(file: Path, records: Sequence[PredictionRecord]) -> None:
    with file.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as lines:
        lines.writelines(record.to_line() for record in records)


def _read_lines(file: Path) -> list[PredictionRecord]:
    with file.open(encoding="utf-8", newline="\n") as lines:
        return list(map(PredictionRecord.from_line, lines))


def _write_parquet(file: Path, records: Sequence[PredictionRecord]) -> None:
    """Write a row for each record, with the names and values of its line."""
    arrow, parquet = pyarrow_module(""), pyarrow_module("parquet")
    rows = [json.loads(json.dumps(record.to_dict())) for record in records]  # tuples as lists
    parquet.write_table(arrow.Table.from_pylist(rows, schema=_schema(arrow)), file)


def _read_parquet(file: Path) -> list[PredictionRecord]:
    rows = pyarrow_module("parquet").read_table(file).to_pylist()
    plain = ({name: value for name, value in row.items() if value is not None} for row in rows)
    return [PredictionRecord.from_line(json.dumps(row)) for row in plain]


def _schema(arrow: Any) -> Any:
    """Return the columns, which are the same in every shard, also where all values of one are missing."""
    text, number, whole, truth = arrow.string(), arrow.float64(), arrow.int64(), arrow.bool_()
    box = dict.fromkeys(("left", "top", "right", "bottom"), whole)
    region = arrow.struct(list((box | {"peak": number, "x": whole, "y": whole}).items()))
    explanation = {
        "prototype": whole,
        "most_like": arrow.list_(text),
        **dict.fromkeys(("class_token", "patches", "memory", "lack", "distance"), number),
        "defect": text,
        "prototype_words": text,
    }
    columns = {
        "path": text,
        "decision": text,
        **dict.fromkeys(("score", "raw", "threshold", "peak"), number),
        "regions": arrow.list_(region),
        "explanation": arrow.struct(list(explanation.items())),
        "blank": truth,
        "look": arrow.struct([("brightness", number), ("sharpness", number)]),
        "overlay": text,
        "error": text,
    }
    return arrow.schema(list(columns.items()))


# To add a format, add a line.
FORMATS = {
    "jsonl": ShardFormat(_write_lines, _read_lines, is_unicode=False),
    "parquet": ShardFormat(_write_parquet, _read_parquet, is_unicode=True),
}
