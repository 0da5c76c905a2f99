"""Writers: what TensorBoard would show, also after a run that went on, and a disk that is full."""

import pathlib
import struct

import pytest
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from dnas.core.errors import InputError
from dnas.run.writers import NullWriter, TensorBoardWriter


def events(file: pathlib.Path):
  data = file.read_bytes()
  while data:
    (size,) = struct.unpack("<Q", data[:8])
    yield Event.FromString(data[12 : 12 + size])
    data = data[16 + size :]


def shown(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
  """What TensorBoard keeps: files in the order of their names, and a start of a session purges its step and all later ones."""
  out: dict[str, list[tuple[int, float]]] = {}
  for file in sorted(folder.iterdir()):
    for event in events(file):
      if event.HasField("session_log") and event.session_log.status == SessionLog.START:
        out = {name: [point for point in points if point[0] < event.step] for name, points in out.items()}
      for value in event.summary.value:
        out.setdefault(value.tag, []).append((event.step, value.simple_value))
  return out


def test_values_are_on_disk_when_write_returns(tmp_path):
  writer = TensorBoardWriter(tmp_path / "tensorboard")
  writer.write(7, {"train/loss": 0.5, "valid/accuracy": 0.25})
  assert shown(tmp_path / "tensorboard") == {"train/loss": [(7, 0.5)], "valid/accuracy": [(7, 0.25)]}
  writer.close()


def test_a_point_has_the_time_that_it_is_given(tmp_path):
  writer = TensorBoardWriter(tmp_path)
  writer.write(7, {"loss": 0.5}, 1234.5)
  writer.close()
  (file,) = tmp_path.iterdir()
  assert [event.wall_time for event in events(file) if event.summary.value] == [1234.5]


@pytest.mark.parametrize("purge_step, first", [(8, 2), (0, 1)])
def test_a_run_that_goes_on_shows_no_point_twice(tmp_path, purge_step, first):
  for begin, end, purge in [(1, 4, None), (first, 5, purge_step)]:
    writer = TensorBoardWriter(tmp_path, purge)
    for epoch in range(begin, end):
      writer.write(7 * epoch, {"loss": epoch})
    writer.close()
  assert len(list(tmp_path.iterdir())) == 2  # though both began in the same second
  assert shown(tmp_path) == {"loss": [(7, 1), (14, 2), (21, 3), (28, 4)]}


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match=r"TensorBoard folder .*/file/tensorboard cannot be written \(not a directory\)"):
    TensorBoardWriter(tmp_path / "file" / "tensorboard")


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
  def fail(*_):
    raise OSError(28, "No space left on device")

  writer = TensorBoardWriter(tmp_path)
  with monkeypatch.context() as patch:
    patch.setattr(EventsWriter, "flush", fail)
    with pytest.raises(InputError, match=rf"TensorBoard folder {tmp_path} cannot be written \(no space left on device\).*\.$"):
      writer.write(1, {"loss": 1.0})
    writer.close()  # the error was told
  writer.close()


def test_the_null_writer_does_nothing():
  writer = NullWriter()
  writer.write(1, {"loss": 1.0})
  writer.close()
