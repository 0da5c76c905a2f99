"""Durable files: the order of syncs and renames, what stays as it was, and what a cut leaves."""

import os

import pytest

from dnas.core import durable


@pytest.fixture
def calls(monkeypatch):
  """The syncs and renames, in their order, by the names of files."""
  made = []
  fsync, replace = os.fsync, os.replace

  def note_sync(descriptor):
    made.append(f"sync {os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}'))}")
    fsync(descriptor)

  def note_replace(old, new):
    made.append(f"rename {os.path.basename(old)} {os.path.basename(new)}")
    replace(old, new)

  monkeypatch.setattr(os, "fsync", note_sync)
  monkeypatch.setattr(os, "replace", note_replace)
  return made


def test_a_file_is_synced_before_it_has_its_name_and_the_folder_after(tmp_path, calls):
  durable.write(tmp_path / "a.json", "ä")
  assert calls == ["sync .a.json.tmp", "rename .a.json.tmp a.json", f"sync {tmp_path.name}"]
  assert (tmp_path / "a.json").read_bytes() == "ä".encode() and os.listdir(tmp_path) == ["a.json"]


def test_a_file_that_holds_the_same_is_left_alone(tmp_path, calls):
  (tmp_path / "a").write_bytes(b"same")
  before = (tmp_path / "a").stat()
  durable.write(tmp_path / "a", b"same")
  assert (tmp_path / "a").stat() == before and not calls
  durable.write(tmp_path / "a", b"more")
  assert (tmp_path / "a").read_bytes() == b"more" and calls


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, failing):
  def fail(*_):
    raise OSError(28, "No space left on device")

  (tmp_path / "a").write_text("old")
  monkeypatch.setattr(os, failing, fail)
  with pytest.raises(OSError, match="No space"):
    durable.write(tmp_path / "a", "new")
  assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path):
  (tmp_path / "mine").write_text("mine")
  durable.temporary(tmp_path / "a").symlink_to(tmp_path / "mine")
  durable.write(tmp_path / "a", "new")
  assert (tmp_path / "mine").read_text() == "mine" and (tmp_path / "a").read_text() == "new"


def test_a_new_folder_is_on_disk_with_all_above_it(tmp_path, calls):
  durable.make_folder(tmp_path / "a" / "b")
  assert calls == ["sync a", f"sync {tmp_path.name}"]
  durable.make_folder(tmp_path / "a" / "b")
  assert len(calls) == 2


def test_a_tree_is_synced_from_its_leaves_up(tmp_path, calls):
  (tmp_path / "a" / "b").mkdir(parents=True)
  (tmp_path / "a" / "b" / "deep").write_text("")
  (tmp_path / "a" / "file").write_text("")
  durable.sync_tree(tmp_path / "a")
  assert calls == ["sync deep", "sync b", "sync file", "sync a"]


def test_a_file_system_that_syncs_no_folders_is_used_all_the_same(tmp_path, monkeypatch):
  def fail(_):
    raise OSError(22, "Invalid argument")

  monkeypatch.setattr(os, "fsync", fail)
  durable.sync_folder(tmp_path)
  monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
  with pytest.raises(OSError, match="Input/output"):
    durable.sync_folder(tmp_path)


def test_lines_are_the_systems_at_once_and_synced_once_a_second_and_in_the_end(tmp_path, calls, monkeypatch):
  now = iter([10.0, 10.0, 10.5, 11.5, 11.5, 20.0, 20.0])
  monkeypatch.setattr(durable.time, "monotonic", lambda: next(now))
  with durable.Lines(tmp_path / "lines") as lines:
    assert calls == [f"sync {tmp_path.name}"]
    lines.write("1\n")
    lines.write("2\n")
    assert calls[1:] == ["sync lines"] and (tmp_path / "lines").read_text() == "1\n2\n"
    lines.write("3\n")
    assert len(calls) == 3
  assert len(calls) == 4
  durable.append(tmp_path / "new", "1\n")
  assert calls[4:6] == [f"sync {tmp_path.name}", "sync new"]


def test_what_a_kill_or_a_power_cut_leaves_behind_whole_lines_is_left_out():
  assert durable.whole_lines("1\n2\n3") == ["1", "2"] and durable.whole_lines("1\n2\n") == ["1", "2"]
  assert durable.whole_lines("1\n2\0\0\n3\n") == ["1"] and durable.whole_lines("") == []
