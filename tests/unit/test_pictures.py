"""Which pictures a folder or a zip has, and how their labels are said."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from ganctl.data import pictures
from ganctl.data.pictures import Listing
from ganctl.data.split import test_places
from ganctl.data.tree import UnreadableError, open_tree
from ganctl.errors import UsageError

Files = Mapping[str, str | bytes]


def folder_of(place: Path, files: Files | tuple[str, ...]) -> Path:
    """A folder; names that end with `/` are folders of it."""
    for name in files:
        if name.endswith("/"):
            (place / name).mkdir(parents=True, exist_ok=True)
            continue
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        content = files[name] if isinstance(files, Mapping) else b"x"
        (place / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return place


def zip_of(folder: Path, top: str = "", compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, top + file.relative_to(folder).as_posix())
    return path


def found(src: Path) -> Listing:
    with open_tree(src) as tree:
        return pictures.find(tree)


def said(listing: Listing) -> dict[str, str | None]:
    """Each picture and its label."""
    labels = listing.labels
    if labels is None:
        return dict.fromkeys(listing.pictures)
    return {path: listing.label_names[y] for path, y in zip(listing.pictures, labels, strict=True)}


CLASSES = (
    *("10/a.png", "2/b.JPG", "2/c.webp", "1/d.jpeg", "10/notes.txt", ".git/x.png", "__MACOSX/1/d.jpeg"),
    *("1/.hidden.png", "1/Thumbs.db"),
)
LABELLED = {"1.png": "x", "2.png": "x", "sub/3.png": "x", "4.png": "x"}


def test_a_sub_folder_is_a_class(tmp_path: Path) -> None:
    listing = found(folder_of(tmp_path / "src", CLASSES))
    assert listing.pictures == ("1/d.jpeg", "10/a.png", "2/b.JPG", "2/c.webp")
    assert listing.label_names == ("1", "2", "10")
    assert listing.labels == (0, 2, 1, 1)
    assert listing.is_test is None
    assert listing.notices == ("1 files that are no pictures are left out (1 .txt)",)


@pytest.mark.parametrize("top", ["", "outer/"])
def test_a_zip_is_the_folder_that_it_is_of(tmp_path: Path, top: str) -> None:
    folder = folder_of(tmp_path / "src", CLASSES)
    zipped, plain = found(zip_of(folder, top)), found(folder)
    assert said(zipped) == said(plain)
    assert zipped.label_names == plain.label_names
    with open_tree(folder.with_suffix(".zip")) as tree:
        assert tree.read("2/b.JPG") == b"x"


@pytest.mark.parametrize(
    "files",
    [
        {"labels.csv": "file,label\n1.png,cat\n2.png, dog\nsub/3.png,cat\n"},
        {"labels.csv": "\ufeff1.png,cat\r\n./2.png,dog\r\n\r\nsub\\3.png,cat\r\n"},
        {"metadata.csv": 'label,filename,by\ncat,1.png,me\ndog,2.png,"a\nb"\ncat,sub/3.png,\n'},
        {
            "metadata.jsonl": '{"file_name": "1.png", "label": "cat"}\n'
            '{"label": "dog", "file_name": "2.png", "by": []}\n\n{"file_name": "sub/3.png", "label": "cat"}'
        },
    ],
    ids=["csv", "no header", "other columns", "jsonl"],
)
def test_a_file_says_the_labels(tmp_path: Path, files: Files) -> None:
    listing = found(folder_of(tmp_path / "src", {**LABELLED, **files}))
    assert said(listing) == {"1.png": "cat", "2.png": "dog", "sub/3.png": "cat"}
    assert listing.notices == ("1 pictures that the file of labels does not name are left out (4.png, …)",)


def test_numbers_are_labels_in_their_order(tmp_path: Path) -> None:
    lines = [json.dumps({"file_name": f"{i}.png", "label": i}) for i in (10, 9, 1)]
    files = {f"{i}.png": "x" for i in (1, 9, 10)} | {"metadata.jsonl": "\n".join(lines)}
    assert found(folder_of(tmp_path / "src", files)).label_names == ("1", "9", "10")


def test_pictures_without_labels_lie_flat(tmp_path: Path) -> None:
    listing = found(folder_of(tmp_path / "src", ("b.png", "a.tif", "notes/", "notes/x.txt")))
    assert said(listing) == {"a.tif": None, "b.png": None}
    assert listing.label_names == ()


@pytest.mark.parametrize(
    ("others", "tests"),
    [
        (("test",), {"test"}),
        (("val", "test"), {"test"}),
        (("validation",), {"validation"}),
        ((), set()),
    ],
)
def test_train_and_test_are_the_two_parts(tmp_path: Path, others: tuple[str, ...], tests: set[str]) -> None:
    files = tuple(
        f"{part}/{label}/{i}.png" for part in ("Train", *others) for label in "ab" for i in range(2)
    )
    listing = found(folder_of(tmp_path / "src", files))
    assert listing.label_names == ("a", "b")
    assert len(listing.pictures) == len(files)
    is_test = listing.is_test or (False,) * len(files)
    assert all(
        tests_with == (path.split("/")[0] in tests)
        for path, tests_with in zip(listing.pictures, is_test, strict=True)
    )


def test_parts_may_have_files_of_labels_or_none(tmp_path: Path) -> None:
    both = {f"{part}/{i}.png": "x" for part in ("train", "test") for i in range(2)}
    flat = found(folder_of(tmp_path / "flat", both))
    assert (flat.labels, flat.is_test) == (None, (True, True, False, False))
    own = {f"{part}/labels.csv": "0.png,a\n1.png,b\n" for part in ("train", "test")}
    assert found(folder_of(tmp_path / "own", {**both, **own})).labels == (0, 1, 0, 1)
    one = {"labels.csv": "test/0.png,a\ntrain/0.png,a\ntrain/1.png,b\n"}
    listing = found(folder_of(tmp_path / "one", {**both, **one}))
    assert (listing.labels, listing.is_test) == ((0, 0, 1), (True, False, False))
    with pytest.raises(UsageError, match="has a label and"):
        found(folder_of(tmp_path / "half", {**both, "train/labels.csv": own["train/labels.csv"]}))


def test_train_beside_other_folders_is_a_class(tmp_path: Path) -> None:
    assert found(folder_of(tmp_path / "src", ("train/1.png", "bus/1.png"))).label_names == ("bus", "train")


def test_links_are_followed_and_come_to_an_end(tmp_path: Path) -> None:
    src = folder_of(tmp_path / "src", ("a/1.png",))
    folder_of(tmp_path / "elsewhere", ("2.png",))
    os.symlink(tmp_path / "elsewhere", src / "b")
    os.symlink(src, tmp_path / "elsewhere" / "back")
    os.symlink(tmp_path / "nothing.png", src / "a" / "gone.png")
    os.mkfifo(src / "a" / "pipe.png")
    assert said(found(src)) == {"a/1.png": "a", "b/2.png": "b"}


PNGS = {"1.png": "x", "2.png": "x"}
WRONG: dict[str, tuple[Files | tuple[str, ...], str, str]] = {
    "nothing": (("readme.txt",), "there are no pictures in src", "one folder per class"),
    "one": (("a/1.png",), "one picture only, a/1.png", "at least one"),
    "empty class": (
        ("a/1.png", "a/2.png", "b/", "c/.hid.png"),
        "folder b has no pictures",
        "remove the folder",
    ),
    "empty part": (("train/a/1.png", "train/a/2.png", "test/a/"), "no pictures in test", "a folder of .png"),
    "empty class of a part": (("train/a/1.png", "train/b/", "test/a/2.png"), "train/b has no", "remove"),
    "mixed": (("a/1.png", "2.png"), r"in itself \(2.png\) and in sub-folders \(a/1.png\)", "keep all"),
    "deep": (("a/b/1.png", "a/2.png"), "a/b/1.png lies too deep", "one folder"),
    "untrained": (
        ("train/a/1.png", "test/b/2.png"),
        "class b, which has no pictures to train",
        "same classes",
    ),
    "two files": ({**PNGS, "labels.csv": "", "metadata.jsonl": ""}, "two files of labels", "keep one"),
    "missing": (
        {**PNGS, "labels.csv": "1.png,a\n" + "".join(f"x{i}.png,b\n" for i in range(7))},
        "labels.csv names 7 pictures that are not there: x0.png, x1.png, x2.png and 4 more",
        "remove their lines",
    ),
    "outside": (
        {**PNGS, "labels.csv": "1.png,a\n../src/2.png,a\n/etc/passwd,b\n"},
        "names 2 pictures",
        "paths",
    ),
    "two labels": (
        {**PNGS, "labels.csv": "1.png,a\n./1.png,b\n"},
        "gives ./1.png two labels, a and b",
        "keep",
    ),
    "no names": ({**PNGS, "labels.csv": "file,label\n"}, "labels.csv names no pictures", "columns"),
    "no labels": ({**PNGS, "labels.csv": "file,text\n1.png,a\n"}, "has the columns file, text", "file,label"),
    "long name": ({**PNGS, "labels.csv": '"' * 99_999}, 'has the columns "{80}…\n', "file,label"),
    "short line": ({**PNGS, "labels.csv": "1.png,a\n2.png\n"}, "line 2, has 1 columns", "a file and a label"),
    "empty label": (
        {**PNGS, "labels.csv": "1.png,a\n2.png,\n"},
        "labels.csv, line 2: an empty label",
        "name",
    ),
    "long label": ({**PNGS, "labels.csv": f"1.png,a\n2.png,{'b' * 201}\n"}, "line 2: the label", "200"),
    "long field": ({**PNGS, "labels.csv": f"1.png,{'b' * 200_000}\n"}, "field larger", "UTF-8"),
    "latin": ({**PNGS, "labels.csv": b"1.png,\xe9\n2.png,b\n"}, "can't decode|codec", "UTF-8"),
    "keys": (
        {**PNGS, "metadata.jsonl": '{"file_name": "1.png", "text": "a"}'},
        "has file_name, text",
        "label",
    ),
    "no object": ({**PNGS, "metadata.jsonl": "[1]"}, "line 1, has no keys", "file_name"),
    "no json": ({**PNGS, "metadata.jsonl": "\n{"}, "line 2, is no JSON", "object"),
    "deep json": ({**PNGS, "metadata.jsonl": "[" * 100_000}, "line 1, is no JSON", "object"),
    "list": (
        {**PNGS, "metadata.jsonl": '{"file_name": "1.png", "label": [1]}'},
        "neither a word",
        "one label",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_said(tmp_path: Path, case: str) -> None:
    files, what, fix = WRONG[case]
    with pytest.raises(UsageError, match=what) as caught:
        found(folder_of(tmp_path / "src", files))
    assert fix in caught.value.fix
    assert len(caught.value.what.splitlines()) == 1
    assert len(caught.value.what) < 400


def test_a_listing_is_named_by_all_that_it_depends_on(tmp_path: Path) -> None:
    src = folder_of(tmp_path / "src", {**PNGS, "labels.csv": "1.png,a\n2.png,b\n"})
    for file in src.iterdir():
        os.utime(file, ns=(10**18, 10**18))
    seen = {found(src).digest}
    assert found(src).digest in seen
    os.utime(src / "1.png", ns=(10**18, 10**18 + 1))
    seen.add(found(src).digest)
    (src / "labels.csv").write_text("1.png,b\n2.png,a\n")
    seen.add(found(src).digest)
    folder_of(src, ("3.png",))
    seen.add(found(src).digest)  # left out, so the same
    (src / "labels.csv").write_text("1.png,b\n2.png,a\n3.png,a\n")
    seen.add(found(src).digest)
    assert len(seen) == 4


# -- zips --------------------------------------------------------------------------------------------------


def test_members_outside_are_no_pictures(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "src.zip", "w") as archive:
        for name in ("a/1.png", "b/2.png", "../evil.png", "/abs/evil.png", "a/../../evil.png"):
            archive.writestr(name, b"x")
    assert found(tmp_path / "src.zip").pictures == ("a/1.png", "b/2.png")


def damaged(data: bytes, case: str) -> bytes:
    if case == "encrypted":
        for start in (b"PK\3\4", b"PK\1\2"):
            at = data.index(start) + (6 if start == b"PK\3\4" else 8)
            data = (
                data[:at] + struct.pack("<H", struct.unpack("<H", data[at : at + 2])[0] | 1) + data[at + 2 :]
            )
        return data
    if case == "method":
        for start in (b"PK\3\4", b"PK\1\2"):
            at = data.index(start) + (8 if start == b"PK\3\4" else 10)
            data = data[:at] + struct.pack("<H", 97) + data[at + 2 :]
        return data
    return {"cut": data[:-30], "none": b"", "text": b"hello" * 100}[case]


@pytest.mark.parametrize("case", ["encrypted", "method", "cut", "none", "text"])
def test_a_zip_that_cannot_be_read_is_said(tmp_path: Path, case: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("1.png", b"x")
        archive.writestr("2.png", b"x")
    (tmp_path / "src.zip").write_bytes(damaged(out.getvalue(), case))
    with pytest.raises(UsageError, match="encrypted" if case == "encrypted" else "src.zip") as caught:
        found(tmp_path / "src.zip")
    assert "unpack it" in caught.value.fix


def test_a_member_is_read_to_its_checksum_and_no_further_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "src", {"1.png": "abcd", "2.png": "b" * 100})
    src = zip_of(folder, compression=zipfile.ZIP_STORED)
    src.write_bytes(src.read_bytes().replace(b"abcd", b"abce", 1))
    monkeypatch.setattr("ganctl.data.tree.MAX_FILE_BYTES", 99)
    for place in (src, folder):
        with open_tree(place) as tree, pytest.raises(UnreadableError, match="more than"):
            tree.read("2.png")
    with open_tree(src) as tree, pytest.raises(UnreadableError, match="CRC"):
        tree.read("1.png")


@pytest.mark.parametrize("name", ["gone", "notes.txt", "src.tar.gz"])
def test_what_is_no_folder_is_said(tmp_path: Path, name: str) -> None:
    if name != "gone":
        (tmp_path / name).write_text("x")
    with pytest.raises(UsageError, match=name), open_tree(tmp_path / name):
        pass


# -- the test part -----------------------------------------------------------------------------------------


def test_a_tenth_of_each_class_is_to_test_with() -> None:
    counts = [1, 2, 3, 14, 16, 1000]
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(6), counts))
    places = test_places(labels, len(labels))
    assert places.dtype == np.int64
    assert (np.diff(places) > 0).all()
    assert np.bincount(labels[places], minlength=6).tolist() == [0, 1, 1, 1, 2, 100]
    assert np.array_equal(places, test_places(labels, len(labels)))
    assert not np.array_equal(places, test_places(labels, len(labels), seed=1))
    assert len(test_places(labels, len(labels), fraction=0.5)) == 0 + 1 + 2 + 7 + 8 + 500


def test_without_labels_all_are_one_class() -> None:
    assert len(test_places(None, 2)) == 1
    drawn = test_places(None, 10_000)
    assert len(drawn) == 1000
    assert abs(drawn.mean() - 5000) < 300  # of 91 in standard deviation
    with pytest.raises(UsageError, match="no class has two"):
        test_places(np.arange(5), 5)


def test_the_test_part_never_changes() -> None:
    """What a run was tested with must not be trained on by the next version."""
    assert test_places(np.array([0, 1] * 20), 40).tolist() == [15, 20, 22, 25]
