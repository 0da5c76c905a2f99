"""Downloads from a server on this machine: cut off and resumed, from the start where a server knows no ranges, with their checksum."""

import hashlib
import http.server
import pathlib
import threading
from collections.abc import Iterator

import pytest
import requests

from dnas.data import download

CONTENT = bytes(range(256)) * 2000


class Site(http.server.ThreadingHTTPServer):
  """Serves CONTENT, and notes where every answer begins.

  After `cut` bytes it hangs up. It may know no ranges or refuse them, begin every range at byte 0, say that it begins elsewhere, tell no
  lengths, send more than the file, or be busy for some answers.
  """

  def __init__(self):
    super().__init__(("127.0.0.1", 0), Handler)
    self.ranges, self.from_zero, self.lengths, self.busy, self.cut, self.begins = True, False, True, 0, [], []
    self.refuses, self.says, self.more = False, None, b""

  def of(self, sha256: str = hashlib.sha256(CONTENT).hexdigest()) -> download.Download:
    return download.Download(f"http://127.0.0.1:{self.server_port}/data.bin", len(CONTENT), sha256)


class Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self) -> None:
    site: Site = self.server  # pyright: ignore
    asked = self.headers.get("Range")
    if site.busy:
      site.busy -= 1
      return self.send_error(503)
    if asked and site.refuses:
      return self.send_error(403)
    ranged = bool(asked and site.ranges)
    begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and ranged and not site.from_zero else 0
    site.begins.append(begin)
    if begin >= len(CONTENT):
      return self.send_error(416)
    self.send_response(206 if ranged else 200)
    if ranged:
      self.send_header("Content-Range", site.says or f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
    if site.lengths:
      self.send_header("Content-Length", str(len(CONTENT) - begin))
    self.end_headers()
    self.wfile.write(CONTENT[begin : begin + site.cut.pop(0) if site.cut else None] + site.more)

  def log_message(self, *_: object) -> None:
    pass


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setattr(download, "WAIT", 0.001)


@pytest.fixture
def site() -> Iterator[Site]:
  with Site() as server:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def test_a_transfer_that_is_cut_off_goes_on_where_it_was(site: Site, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
  site.cut = [98_304, 0, 50_000]
  assert download.fetch(site.of(), tmp_path).read_bytes() == CONTENT
  assert site.begins == [0, 98_304, 98_304, 147_456]
  assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]
  assert capsys.readouterr().out == f"downloading {site.of().url} (0.5 MB)\n"  # no bar without a terminal
  assert download.fetch(site.of(), tmp_path).read_bytes() == CONTENT and len(site.begins) == 4


def test_another_process_resumes_and_three_tries_without_a_byte_end_it(site: Site, tmp_path, capsys):
  site.cut = [294_912, 0, 0, 0]
  with pytest.raises(requests.exceptions.ChunkedEncodingError):
    download.fetch(site.of(), tmp_path)
  assert (tmp_path / "data.bin.part").stat().st_size == 294_912
  assert download.fetch(site.of(), tmp_path).read_bytes() == CONTENT and site.begins[-1] == 294_912
  assert "resumed after 0.3 MB" in capsys.readouterr().out


def test_a_server_without_ranges_sends_the_whole_file_again(site: Site, tmp_path):
  site.ranges, site.cut = False, [98_304]
  assert download.fetch(site.of(), tmp_path).read_bytes() == CONTENT and site.begins == [0, 0]


def test_a_whole_part_needs_no_byte_and_a_wrong_one_is_not_kept(site: Site, tmp_path):
  part = tmp_path / "data.bin.part"
  part.write_bytes(CONTENT)
  assert download.fetch(site.of(), tmp_path).read_bytes() == CONTENT
  (tmp_path / "data.bin").unlink()
  wrong = site.of(hashlib.sha256(b"another file").hexdigest())
  with pytest.raises(ValueError, match="does not match the known hash"):
    download.fetch(wrong, tmp_path)
  assert list(tmp_path.iterdir()) == [] and site.begins == [0]


def test_the_part_of_a_file_that_has_changed_is_begun_anew(site: Site, tmp_path):
  (tmp_path / "data.bin.part").write_bytes(b"another file")
  assert download.fetch(site.of(), tmp_path).read_bytes() == CONTENT and site.begins == [12, 0]


@pytest.mark.parametrize("begun", [98_304, len(CONTENT) - 1])
def test_a_range_that_begins_elsewhere_is_put_where_it_belongs(begun: int, site: Site, tmp_path):
  (tmp_path / "data.bin.part").write_bytes(CONTENT[:begun])
  site.from_zero = True
  assert download.fetch(site.of(), tmp_path).read_bytes() == CONTENT and site.begins == [0]


@pytest.mark.parametrize("begun", [0, 100])
def test_a_file_without_a_length_that_ends_early_goes_on(begun: int, site: Site, tmp_path):
  (tmp_path / "data.bin.part").write_bytes(CONTENT[:begun])
  site.lengths, site.cut = False, [98_304, 0]
  assert download.fetch(site.of(), tmp_path).read_bytes() == CONTENT and site.begins == [begun, *[begun + 98_304] * 2]


def test_a_server_that_refuses_ranges_is_asked_for_the_whole_file(site: Site, tmp_path):
  (tmp_path / "data.bin.part").write_bytes(CONTENT[:100])
  site.refuses = True
  assert download.fetch(site.of(), tmp_path).read_bytes() == CONTENT and site.begins == [0]


def test_bytes_from_beyond_what_is_missing_are_not_taken(site: Site, tmp_path):
  part = tmp_path / "data.bin.part"
  part.write_bytes(CONTENT[:100])
  site.says = "bytes 2000000000000-2000000000001/*"
  with pytest.raises(requests.ConnectionError, match="not those from 100 on"):
    download.fetch(site.of(), tmp_path)
  assert part.read_bytes() == CONTENT[:100] and len(site.begins) == download.TRIES


def test_a_server_that_begins_anew_every_time_does_not_go_on_for_ever_nor_cost_the_part(site: Site, tmp_path):
  site.ranges, site.lengths, site.cut = False, False, [98_304, 50_000] * 9
  with pytest.raises(requests.ConnectionError, match="none of the bytes from 98,304 on"):
    download.fetch(site.of(), tmp_path)
  assert (tmp_path / "data.bin.part").read_bytes() == CONTENT[:98_304] and len(site.begins) == 1 + download.TRIES


def test_what_comes_beyond_the_file_is_not_read(site: Site, tmp_path):
  site.lengths, site.more = False, b"more"
  assert download.fetch(site.of(), tmp_path).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(site: Site, tmp_path):
  site.busy = 1
  assert download.fetch(site.of(), tmp_path).read_bytes() == CONTENT and site.begins == [0]
