"""A file that a person has is no data base: it is refused, and stays as it is."""

import os

import pytest

from dnas.core.errors import InputError
from dnas.tune.storage import file_url, open_storage


@pytest.mark.parametrize("content", [b"x", b"a person's note\n" * 500, b"SQLite format 2\0" + bytes(4096)], ids=["byte", "text", "older"])
@pytest.mark.parametrize("form", ["sqlite:///{}", "sqlite:///file:{}?uri=true"])
def test_a_file_that_is_no_data_base_is_refused_and_stays(tmp_path, content, form):
  file = tmp_path / "note.txt"
  file.write_bytes(content)
  with pytest.raises(InputError, match=r"note.txt.* is a file that is not a study, and would be overwritten; give another file\."):
    open_storage(form.format(file), 0)
  assert file.read_bytes() == content and os.listdir(tmp_path) == ["note.txt"]


@pytest.mark.parametrize("name", ["study.db", "a study? 100 %.db"])
def test_an_empty_file_and_a_data_base_are_opened(tmp_path, name):
  (tmp_path / name).touch()
  for _ in range(2):
    open_storage(file_url(tmp_path / name), 0)
  assert (tmp_path / name).read_bytes().startswith(b"SQLite format 3\0") and os.listdir(tmp_path) == [name]
