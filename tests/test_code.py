"""The checksum of a stage's code: what it holds counts, not where it lies."""

import shutil

import pytest

from cmc import code


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package of three modules; checksums are of that copy."""
    folder = tmp_path / "cmc"
    (folder / "room").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "room/__init__.py").write_text("")
    (folder / "room/base.py").write_text("VALUE = 1\n")
    (folder / "room/other.py").write_text("OTHER = 1\n")
    (folder / "stage.py").write_text(
        "import os\nfrom cmc.room import (\n    base,\n)\n\n\ndef f():\n    from cmc.room import other\n"
    )
    monkeypatch.setattr(code, "PACKAGE", folder)
    forget()
    yield folder
    forget()


def forget():
    code.checksum.cache_clear()
    code._read.cache_clear()


def checksum():
    forget()
    return code.checksum("stage")


def replace(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_what_a_module_holds_counts_and_what_it_imports(package):
    before = checksum()
    replace(package / "room/base.py", "1", "2")
    changed = checksum()
    replace(package / "stage.py", "import os", "import sys")
    assert len({before, changed, checksum()}) == 3


def test_a_package_counts_only_where_something_of_itself_is_imported(package):
    before = checksum()
    (package / "room/__init__.py").write_text("VALUE = 1\n")
    assert checksum() == before
    replace(package / "stage.py", "import os", "from cmc.room import VALUE")
    imported = checksum()
    replace(package / "room/__init__.py", "1", "2")
    assert checksum() != imported


def test_an_import_inside_a_function_does_not(package):
    before = checksum()
    replace(package / "room/other.py", "1", "2")
    assert checksum() == before


def test_a_move_is_no_change(package):
    before = checksum()
    (package / "house").mkdir()
    shutil.move(package / "room/base.py", package / "house/base.py")
    (package / "house/__init__.py").write_text("")
    replace(package / "stage.py", "from cmc.room import (\n    base,\n)\n", "from cmc.house import base\n")
    assert checksum() == before


def test_an_unknown_module_is_an_error(package):
    with pytest.raises(FileNotFoundError):
        code.checksum("nothing")
