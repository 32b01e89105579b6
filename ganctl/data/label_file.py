"""The file beside pictures that says the label of each: a CSV, or Hugging Face's `metadata.jsonl`."""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Iterator, Sequence

from ganctl.data.decode import SUFFIXES
from ganctl.data.tree import Tree, UnreadableError
from ganctl.errors import UsageError

NAMES = ("labels.csv", "metadata.csv", "metadata.jsonl")
FILE_COLUMNS = ("file", "file_name", "filename")
MAX_LABEL = 200  # letters
FEW = 3  # names in an error
MAX_QUOTED = 80  # letters of each


def read(tree: Tree, part: str, pictures: Sequence[str]) -> dict[str, str] | None:
    """Pictures and their labels, as the file of labels in a folder says; None where there is no such file.

    Args:
        part: the folder, with `/` at its end; empty for the whole tree.
        pictures: the paths of those below it.

    Raises:
        UsageError: it cannot be read, is not of its form, or names pictures that are not there.
    """
    files = [part + name for name in NAMES if part + name in tree.files]
    if not files:
        return None
    if len(files) > 1:
        raise UsageError(f"there are two files of labels, {files[0]} and {files[1]}", "keep one of them")
    file = files[0]
    fix = "write it as UTF-8 with the columns file,label, or as metadata.jsonl with file_name and label"
    known = set(pictures)
    found: dict[str, str] = {}
    missing = []
    try:
        text = tree.read(file).decode("utf-8-sig")
        rows = _json_rows(file, text) if file.endswith(".jsonl") else _csv_rows(file, text)
        for line, name, label in rows:
            path = posixpath.normpath(part + name.replace("\\", "/"))
            if path not in known:
                missing.append(name)
            elif found.setdefault(path, checked(label, f"{file}, line {line}")) != label.strip():
                raise UsageError(
                    f"{file} gives {_short(name)} two labels, {found[path]} and {label}", "keep one of them"
                )
    except (UnreadableError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {file}: {error}", fix) from error
    if missing:
        listed = ", ".join(map(_short, missing[:FEW]))
        more = f" and {len(missing) - FEW} more" if len(missing) > FEW else ""
        raise UsageError(
            f"{file} names {len(missing)} pictures that are not there: {listed}{more}",
            "add them, or remove their lines; names are paths from the folder of the file, with the suffix",
        )
    if not found:
        raise UsageError(f"{file} names no pictures", fix)
    return found


def _csv_rows(file: str, text: str) -> Iterator[tuple[int, str, str]]:
    """(line, picture, label). The first line may name the columns."""
    reader = csv.reader(io.StringIO(text, newline=""))
    name_at, label_at, least = 0, 1, 2
    for number, row in enumerate(row for row in reader if row):
        if number == 0:
            words = [word.strip().casefold() for word in row]
            names = [words.index(name) for name in FILE_COLUMNS if name in words]
            if names and "label" in words:
                name_at, label_at = names[0], words.index("label")
                least = max(name_at, label_at) + 1
                continue
            if len(row) != 2 or not words[0].endswith(SUFFIXES):
                raise UsageError(
                    f"{file} has the columns {', '.join(map(_short, row[:10]))}",
                    "name them file,label, or give two without names",
                )
        if len(row) < least:
            raise UsageError(
                f"{file}, line {reader.line_num}, has {len(row)} columns", "give each line a file and a label"
            )
        yield reader.line_num, row[name_at].strip(), row[label_at]


def _json_rows(file: str, text: str) -> Iterator[tuple[int, str, str]]:
    """(line, picture, label) of Hugging Face's form."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{file}, line {number}, is no JSON", "write one object a line") from error
        keys = sorted(row) if isinstance(row, dict) else []
        if not {"file_name", "label"} <= set(keys):
            raise UsageError(
                f"{file}, line {number}, has {', '.join(map(_short, keys[:10])) or 'no keys'}",
                "give each line a file_name and a label",
            )
        name, label = row["file_name"], row["label"]
        if not isinstance(name, str) or type(label) not in (str, int):
            raise UsageError(
                f"{file}, line {number}: its file_name or its label is neither a word nor a whole number",
                "give each picture one label",
            )
        yield number, name, str(label)


def checked(text: str, where: str) -> str:
    """A label that can be stored, printed and typed.

    Raises:
        UsageError: it cannot.
    """
    label = text.strip()
    if not 0 < len(label) <= MAX_LABEL or "\0" in label or any("\ud800" <= c <= "\udfff" for c in label):
        what = f"the label {_short(label)!r}" if label else "an empty label"
        raise UsageError(f"{where}: {what}", f"give it a name of at most {MAX_LABEL} letters")
    return label


def _short(text: str) -> str:
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"
