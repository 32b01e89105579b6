"""Which pictures a folder or zip has, the label of each, and which of them are to test with."""

from __future__ import annotations

import collections
import hashlib
import json
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ganctl.data import label_file
from ganctl.data.decode import SUFFIXES
from ganctl.data.tree import Tree
from ganctl.errors import UsageError
from ganctl.label_names import numbered

FEW = 3  # kinds of files in a notice

# Folders that divide the data, instead of being classes. Where there is no `test`, the others test.
TRAIN, TEST, VALIDATION = "train", "test", ("val", "valid", "validation")


@dataclass(frozen=True)
class Listing:
    """Pictures in the order of their names.

    Args:
        name: of the folder or zip, without where it lies.
        pictures: their paths in it.
        labels: places in `label_names`; None for pictures without labels.
        is_test: whether each is of the test part; None where the folder has none.
        notices: one line each: what was left out.
        digest: SHA-256 in hex over names, sizes and times of the files, and all of the above.
    """

    name: str
    pictures: tuple[str, ...] = field(repr=False)
    labels: tuple[int, ...] | None = field(repr=False)
    label_names: tuple[str, ...]
    is_test: tuple[bool, ...] | None = field(repr=False)
    notices: tuple[str, ...]
    digest: str


def find(tree: Tree) -> Listing:
    """Lists the pictures of a folder: one sub-folder for each class, a file of labels, or none of both; and
    all that again in `train` and `test`, if there are such.

    Raises:
        UsageError: names what cannot be used, and what would work.
    """
    every = sorted(path for path in tree.files if path.lower().endswith(SUFFIXES))
    parts = _parts(tree, every)
    found: dict[str, str | None] = {}
    named = label_file.read(tree, "", every)
    if named is not None:
        found |= named
    else:
        for part in parts:
            inside = [path for path in every if path.startswith(part)]
            named = label_file.read(tree, part, inside)
            found |= _from_folders(tree, part, inside) if named is None else named
    pictures = sorted(found)
    _require_two(tree, pictures)
    _require_all_or_none(found)
    labels = label_names = None
    if found[pictures[0]] is not None:
        labels, label_names = numbered([str(found[path]) for path in pictures])
    tests = tuple(part for part, is_test in parts.items() if is_test)
    is_test = tuple(path.startswith(tests) for path in pictures)
    if any(is_test):
        _require_trained(pictures, labels, label_names, is_test)
    sha = hashlib.sha256()
    stamps = [[path, tree.files[path].size, tree.files[path].stamp] for path in pictures]
    sha.update(json.dumps([tree.name, stamps, labels, label_names, is_test]).encode())
    return Listing(
        tree.name,
        tuple(pictures),
        None if labels is None else tuple(labels),
        label_names or (),
        is_test if any(is_test) else None,
        tuple(_notices(tree, every, found)),
        sha.hexdigest(),
    )


def _parts(tree: Tree, pictures: Sequence[str]) -> dict[str, bool]:
    """The folders that divide the data, each with `/` at its end, and whether it is to test with."""
    tops = {path for path in tree.folders if "/" not in path}
    by_name = {top.casefold(): top for top in tops}
    flat = any("/" not in path for path in pictures)
    if flat or TRAIN not in by_name or set(by_name) - {TRAIN, TEST, *VALIDATION}:
        return {"": False}
    tests = {TEST} if TEST in by_name else set(VALIDATION)
    return {f"{top}/": name in tests for name, top in sorted(by_name.items())}


def _from_folders(tree: Tree, part: str, pictures: Sequence[str]) -> dict[str, str | None]:
    """Pictures and the classes that their folders are; None for pictures that lie flat."""
    place = part.rstrip("/") or tree.name
    inside = {path: path[len(part) :].split("/")[:-1] for path in pictures}
    deep = [path for path, folders in inside.items() if len(folders) > 1]
    if deep:
        raise UsageError(
            f"{deep[0]} lies too deep: {inside[deep[0]][0]} has folders of its own",
            "put the pictures of each class into one folder, or name each in a labels.csv",
        )
    flat = [path for path, folders in inside.items() if not folders]
    if len(flat) == len(pictures):
        if not flat:
            raise UsageError(
                f"there are no pictures in {place}",
                f"give a folder of {', '.join(SUFFIXES)}, or of one folder per class",
            )
        return dict.fromkeys(flat)
    if flat:
        other = next(path for path in pictures if inside[path])
        raise UsageError(
            f"{place} has pictures in itself ({flat[0]}) and in sub-folders ({other})",
            "keep all in one folder, all in one folder per class, or name each in a labels.csv",
        )
    classes = {folders[0] for folders in inside.values()}
    folders_of_part = {path[len(part) :] for path in tree.folders if path.startswith(part)}
    for folder in sorted(folders_of_part - classes):
        if "/" not in folder:
            raise UsageError(
                f"the class folder {part}{folder} has no pictures", "remove the folder, or add pictures"
            )
    return {path: label_file.checked(folders[0], path) for path, folders in inside.items()}


def _require_two(tree: Tree, pictures: Sequence[str]) -> None:
    if len(pictures) < 2:
        raise UsageError(
            f"{tree.name} has one picture only, {pictures[0]}",
            "add pictures: a data set needs at least one to train on and one to test with",
        )


def _require_all_or_none(found: dict[str, str | None]) -> None:
    """Of several parts all have labels, or none."""
    with_label = next((path for path, label in found.items() if label is not None), None)
    without = next((path for path, label in found.items() if label is None), None)
    if with_label and without:
        raise UsageError(
            f"{with_label} has a label and {without} has none", "give all pictures labels, or none"
        )


def _require_trained(
    pictures: Sequence[str],
    labels: Sequence[int] | None,
    label_names: Sequence[str] | None,
    is_test: Sequence[bool],
) -> None:
    """Every class is in the training part."""
    if labels is None or label_names is None:
        return
    trained = {label for label, tests in zip(labels, is_test, strict=True) if not tests}
    for path, label in zip(pictures, labels, strict=True):
        if label not in trained:
            raise UsageError(
                f"{path} is of the class {label_names[label]}, which has no pictures to train on",
                "give both parts the same classes",
            )


def _notices(tree: Tree, every: Sequence[str], found: dict[str, str | None]) -> Iterator[str]:
    if unnamed := [path for path in every if path not in found]:
        yield f"{len(unnamed)} pictures that the file of labels does not name are left out ({unnamed[0]}, …)"
    kinds = collections.Counter(
        posixpath.splitext(path)[1].lower() or "without suffix"
        for path in tree.files.keys() - set(every)
        if posixpath.basename(path) not in label_file.NAMES
    )
    if kinds:
        listed = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(FEW))
        more = ", …" if len(kinds) > FEW else ""
        yield f"{kinds.total()} files that are no pictures are left out ({listed}{more})"
