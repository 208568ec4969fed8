"""Image files on disk: folders of classes and tables of paths; none leaves its root, and what cannot be used is named."""

from pathlib import Path

import pytest

from metamedica.data.image_files import files_in_folder, files_in_table, read_image_files
from metamedica.data.roles import Columns
from metamedica.errors import FileFormatError, InputError, TaskError

COLUMNS = Columns("path", "label")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cats/a.png", "cats/b.JPG", "cats/deep/c.tif", "dogs/a.png", "dogs/d.bmp"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"x")
    return tmp_path / "set"


def table(folder: Path, text: str, name: str = "t.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_folder_for_each_class_gives_paths_and_labels_in_order(folder: Path) -> None:
    found = files_in_folder(folder)
    assert found.table["path"].tolist() == ["cats/a.png", "cats/b.JPG", "cats/deep/c.tif", "dogs/a.png", "dogs/d.bmp"]
    assert found.table["label"].tolist() == ["cats"] * 3 + ["dogs"] * 2
    assert found.paths[0] == folder / "cats/a.png"
    assert (found.column("split"), found.column("group"), found.left_out, len(found)) == (None, None, {}, 5)


def test_files_of_other_kinds_hidden_ones_and_links_are_left_out_and_counted(folder: Path, tmp_path: Path) -> None:
    for name in ("readme.txt", "cats/notes.txt", "cats/more.txt", "cats/.hidden.png", "dogs/Thumbs"):
        (folder / name).write_text("x")
    (tmp_path / "outside.png").write_text("x")
    (folder / "cats/link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/e.png").write_text("x")
    (folder / "dogs/linked").symlink_to(tmp_path / "elsewhere")
    (folder / "birds").symlink_to(tmp_path / "elsewhere")
    found = files_in_folder(folder)
    assert len(found) == 5
    assert found.left_out == {
        "links": 3,
        "files outside a class's folder": 1,
        ".txt files": 2,
        "hidden files": 1,
        "nameless files": 1,
    }


def test_folders_that_hold_no_classes_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="there is no folder 'gone'; check the path"):
        files_in_folder(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileFormatError, match="the folder 'empty' is empty; give one with a subfolder for each class"):
        files_in_folder(tmp_path / "empty")
    with pytest.raises(FileFormatError, match="the folder 'dogs' has 2 files and no subfolder"):
        files_in_folder(folder / "dogs")
    with pytest.raises(FileFormatError, match=r"a\.png is no folder"):
        files_in_folder(folder / "dogs/a.png")
    (folder / "fish").mkdir()
    (folder / "fish/x.doc").write_text("x")
    with pytest.raises(
        TaskError, match=r"the class folder 'fish' has no image \(\.png, .* or \.nii\.gz\); fill it or remove it"
    ):
        files_in_folder(folder)
    (folder / "fish/f.png").write_text("x")
    with pytest.raises(TaskError, match="the class 'fish' has one image; a class needs at least two"):
        files_in_folder(folder)
    (tmp_path / "one").mkdir()
    (folder / "cats").rename(tmp_path / "one/cats")
    with pytest.raises(TaskError, match="one has one class only, 'cats'; give at least two"):
        files_in_folder(tmp_path / "one")


@pytest.mark.parametrize(("separator", "name"), [(",", "t.csv"), ("\t", "t.tsv")])
def test_a_table_gives_split_and_group_in_its_order(folder: Path, separator: str, name: str) -> None:
    rows = [
        "path,label,part,patient",
        "dogs/a.png,d,test,p1",
        "./cats/a.png,c,train,p2",
        "cats\\b.JPG,c,train,p3",
        "dogs/d.bmp,d,train,p1",
    ]
    source = table(folder, "\n".join(rows).replace(",", separator), name)
    found = files_in_table(source, Columns("path", "label", split="part", group="patient"))
    assert found.table["path"].tolist() == ["dogs/a.png", "cats/a.png", "cats/b.JPG", "dogs/d.bmp"]
    assert found.column("split") == ["test", "train", "train", "train"]
    assert found.column("group") == ["p1", "p2", "p3", "p1"]
    assert all(path.is_file() for path in found.paths)


def test_paths_may_be_below_another_root(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    source = table(tmp_path / "lists", "path,label\ncats/a.png,c\ncats/b.JPG,c\ndogs/a.png,d\ndogs/d.bmp,d\n")
    assert len(files_in_table(source, COLUMNS, root=folder)) == 4
    with pytest.raises(
        FileFormatError,
        match=r"4 of 4 files that t\.csv names are not there \(cats/a\.png, cats/b\.JPG, dogs/a\.png, \.\.\.\)",
    ):
        files_in_table(source, COLUMNS)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            "../secret.png,c",
            r"t\.csv, row 2 names a file outside the folder of the images; give paths below it, without \.\.",
        ),
        ("cats/../../x.png,c", "names a file outside"),
        ("cats\\..\\..\\x.png,c", "names a file outside"),
        ("/etc/x.png,c", "names a file outside"),
        ("C:\\x.png,c", "names a file outside"),
        (",c", "row 2 names no file"),
        ("cats/a.png,", r"row 2 has no label in 'label'; fill the cell"),
        ("cats/a.doc,c", r"names a file that is no image \(\.doc\)"),
        ("cats/link.png,c", "row 2 names a link that leads out of the folder"),
        ("linked/x.png,c", "row 2 names a link that leads out of the folder"),
    ],
)
def test_rows_that_lead_out_or_name_no_image_are_refused(folder: Path, tmp_path: Path, row: str, told: str) -> None:
    (tmp_path / "x.png").write_text("x")
    (folder / "cats/link.png").symlink_to(tmp_path / "x.png")
    (folder / "linked").symlink_to(tmp_path)
    source = table(folder, f"path,label\n{row}\ncats/b.JPG,c\n")
    with pytest.raises((FileFormatError, TaskError), match=told):
        files_in_table(source, COLUMNS)


def test_repeated_paths_missing_columns_and_lone_images_are_refused(folder: Path) -> None:
    source = table(folder, "path,label\ncats/a.png,c\n./cats/a.png,d\n")
    with pytest.raises(FileFormatError, match=r"t\.csv names 1 files twice \(cats/a\.png\); name each once"):
        files_in_table(source, COLUMNS)
    with pytest.raises(FileFormatError, match=r"t\.csv has no column 'patient'; it has: path, label"):
        files_in_table(source, Columns("path", "label", group="patient"))
    source = table(folder, "path,label\ncats/a.png,c\ncats/b.JPG,c\ndogs/a.png,d\n")
    with pytest.raises(TaskError, match="the class 'd' has one image"):
        files_in_table(source, COLUMNS)
    source = table(folder, "path,label,patient\ncats/a.png,c,1\ncats/b.JPG,c,\n")
    with pytest.raises(FileFormatError, match="row 3 has no group in 'patient'"):
        files_in_table(source, Columns("path", "label", group="patient"))
    with pytest.raises(InputError, match="wants one column with paths and one with labels"):
        files_in_table(source, Columns(("path", "patient"), "label"))


def test_a_source_is_taken_for_what_it_is(folder: Path) -> None:
    assert len(read_image_files(folder)) == 5
    source = table(folder, "path,label\ncats/a.png,c\ncats/b.JPG,c\ndogs/a.png,d\ndogs/d.bmp,d\n")
    assert len(read_image_files(source, COLUMNS)) == 4
    with pytest.raises(InputError, match="columns or a root came with a folder of classes"):
        read_image_files(folder, COLUMNS)
    with pytest.raises(InputError, match="is a table; name its columns"):
        read_image_files(source)
    with pytest.raises(FileFormatError, match=r"a\.png is neither a folder nor a table"):
        read_image_files(folder / "cats/a.png")
    with pytest.raises(FileFormatError, match="there is no folder or table 'gone'"):
        read_image_files(folder / "gone")
