"""The system calls by which a process wrote a folder, recorded by strace, and what a power cut after any of them may leave.

A file system promises this much: what was synced is there. Of the rest anything may be there, so three extremes are rebuilt:

    nothing     only files whose content was synced, under names whose folder was synced
    names       every name, but only synced content: a file that was not synced is empty
    removals    as `nothing`, but all removals and renames have taken place: a name that has gone is gone
"""

import functools
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Sequence

VARIANTS = ("nothing", "names", "removals")
_CALLS = (
  "open,openat,creat,close,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,lseek,dup,dup2,dup3,fcntl,fsync,fdatasync,"
  "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat,copy_file_range,sendfile,syncfs,sync"
)
_UNKNOWN = ("pwritev", "pwritev2", "truncate", "fallocate", "link", "linkat", "symlink", "symlinkat", "copy_file_range", "sendfile")


def why_not() -> str:
  """Why calls cannot be recorded here; nothing if they can."""
  if not shutil.which("strace"):
    return "strace is not installed"
  tried = subprocess.run(["strace", "-f", "-qq", "-o", os.devnull, "true"], capture_output=True, text=True)
  return f"strace may not trace here: {tried.stderr.strip()[:200]}" if tried.returncode else ""


def record(command: Sequence[str], log: pathlib.Path, env: dict[str, str]) -> None:
  """Runs a command, and writes its calls to a file."""
  traced = ["strace", "-f", "-qq", "-xx", "-s", "10000000", "--seccomp-bpf", "-e", f"trace={_CALLS}", "-e", "signal=none", "-o", str(log)]
  subprocess.run([*traced, *command], env=env, check=True, capture_output=True, timeout=300)


class Node:
  """A file or a folder, as it is and as it is on disk; `names` is None in a file."""

  def __init__(self, is_folder: bool):
    self.data, self.synced = bytearray(), b""
    self.names: dict[str, Node] | None = {} if is_folder else None
    self.synced_names: dict[str, Node] = {}


class Disk:
  """What the recorded calls make of a folder that is empty and on disk before them; `play` goes on to the next change."""

  def __init__(self, log: pathlib.Path, folder: pathlib.Path):
    self.root, self._folder = Node(True), os.path.abspath(folder)
    self._open: dict[int, list] = {}  # descriptor to [node, offset, whether it appends]
    self.changes = [call for call in _calls(log.read_text()) if call[2] >= 0]
    self.played = 0

  def play(self) -> None:
    """Carries out the next call."""
    name, arguments, result = self.changes[self.played]
    self.played += 1
    getattr(self, f"_{name}", lambda *_: None)(arguments, result)
    if name in _UNKNOWN and any(self._find(text) for text in map(_text, arguments) if text):
      raise NotImplementedError(name)
    if name in _UNKNOWN and arguments[0].isdigit() and int(arguments[0]) in self._open:
      raise NotImplementedError(name)

  def rebuild(self, variant: str, folder: pathlib.Path) -> None:
    """Writes what a power cut now may leave."""
    folder.mkdir()
    self._rebuild(self.root, variant, folder)

  def _rebuild(self, node: Node, variant: str, folder: pathlib.Path) -> None:
    names = node.names if variant == "names" else node.synced_names
    for name, child in names.items():
      if variant == "removals" and node.names.get(name) is not child:
        continue
      if child.names is not None:
        (folder / name).mkdir()
        self._rebuild(child, variant, folder / name)
      else:
        (folder / name).write_bytes(child.synced)

  def _parent(self, path: str) -> tuple[Node, str] | None:
    """Returns the folder of a path and its name in it, or None outside of the recorded folder."""
    path = os.path.normpath(path)
    if not path.startswith(f"{self._folder}/"):
      return None
    *above, name = path.removeprefix(f"{self._folder}/").split("/")
    node = self.root
    for each in above:
      node = node.names[each]
    return node, name

  def _find(self, path: str) -> Node | None:
    if os.path.normpath(path) == self._folder:
      return self.root
    at = self._parent(path)
    return at and at[0].names.get(at[1])

  def _of_path(self, arguments: list[str], at_folder: bool, index: int = 0) -> str:
    if not at_folder:
      return _text(arguments[index])
    path = _text(arguments[2 * index + 1])
    if path.startswith("/") or arguments[2 * index] == "AT_FDCWD":
      return path
    opened = self._open.get(int(arguments[2 * index]))
    return os.path.join(opened[3], path) if opened else "/outside"

  def _openat(self, arguments: list[str], result: int, at_folder: bool = True) -> None:
    path, flags = self._of_path(arguments, at_folder), arguments[2 if at_folder else 1]
    at = self._parent(path)
    self._open.pop(result, None)
    if at is None and os.path.normpath(path) != self._folder:
      return
    if at and at[1] not in at[0].names and "O_CREAT" in flags:
      at[0].names[at[1]] = Node(False)
    node = self._find(path)
    if "O_TRUNC" in flags:
      node.data.clear()
    self._open[result] = [node, 0, "O_APPEND" in flags, path]

  def _close(self, arguments: list[str], _: int) -> None:
    self._open.pop(int(arguments[0]), None)

  def _dup(self, arguments: list[str], result: int) -> None:
    if int(arguments[0]) in self._open:
      self._open[result] = self._open[int(arguments[0])]

  _dup2 = _dup3 = _dup

  def _fcntl(self, arguments: list[str], result: int) -> None:
    if arguments[1].startswith("F_DUPFD"):
      self._dup(arguments, result)

  def _lseek(self, arguments: list[str], result: int) -> None:
    if int(arguments[0]) in self._open:
      self._open[int(arguments[0])][1] = result

  def _write(self, arguments: list[str], result: int) -> None:
    opened = self._open.get(int(arguments[0]))
    if opened:
      start = len(opened[0].data) if opened[2] else opened[1]
      self._put(opened[0], start, _bytes(arguments[1])[:result])
      opened[1] = start + result

  def _pwrite64(self, arguments: list[str], result: int) -> None:
    if int(arguments[0]) in self._open:
      self._put(self._open[int(arguments[0])][0], int(arguments[3]), _bytes(arguments[1])[:result])

  def _put(self, node: Node, start: int, data: bytes) -> None:
    node.data.extend(bytes(max(0, start - len(node.data))))
    node.data[start : start + len(data)] = data

  def _ftruncate(self, arguments: list[str], _: int) -> None:
    if int(arguments[0]) in self._open:
      node, size = self._open[int(arguments[0])][0], int(arguments[1])
      del node.data[size:]
      node.data.extend(bytes(size - len(node.data)))

  def _fsync(self, arguments: list[str], _: int) -> None:
    if int(arguments[0]) in self._open:
      node = self._open[int(arguments[0])][0]
      if node.names is None:
        node.synced = bytes(node.data)
      else:
        node.synced_names = dict(node.names)

  _fdatasync = _fsync

  def _mkdirat(self, arguments: list[str], _: int, at_folder: bool = True) -> None:
    if at := self._parent(self._of_path(arguments, at_folder)):
      at[0].names[at[1]] = Node(True)

  def _unlinkat(self, arguments: list[str], _: int, at_folder: bool = True) -> None:
    if at := self._parent(self._of_path(arguments, at_folder)):
      del at[0].names[at[1]]

  def _renameat2(self, arguments: list[str], _: int, at_folder: bool = True) -> None:
    old, new = (self._parent(self._of_path(arguments, at_folder, index)) for index in (0, 1))
    if old:
      new[0].names[new[1]] = old[0].names.pop(old[1])
    elif new:
      raise NotImplementedError("a file that is moved into the folder")

  _renameat = _renameat2
  _open_plain = functools.partialmethod(_openat, at_folder=False)
  _mkdir = functools.partialmethod(_mkdirat, at_folder=False)
  _unlink = _rmdir = functools.partialmethod(_unlinkat, at_folder=False)
  _rename = functools.partialmethod(_renameat2, at_folder=False)


def _calls(log: str) -> list[tuple[str, list[str], int]]:
  """Reads (name, arguments, result) of every call, in the order in which they ended; of a call that was interrupted both halves.

  A close counts from its beginning: from there on another thread may open the same descriptor, and be recorded first.
  """
  out, begun = [], {}
  for line in log.splitlines():
    process, _, rest = line.partition(" ")
    rest = rest.strip()
    if rest.endswith("<unfinished ...>"):
      begun[process] = rest.removesuffix("<unfinished ...>").rstrip()
      if closed := re.match(r"close\((\d+)", rest):
        out.append(("close", [closed[1]], 0))
      continue
    if resumed := re.match(r"<\.\.\. \w+ resumed>", rest):
      rest = begun.pop(process) + rest[resumed.end() :]
      if rest.startswith("close("):
        continue
    match = re.match(r"(\w+)\((.*)\)\s+= (-?\d+)", rest, re.DOTALL)
    if match:
      name = "open_plain" if match[1] == "open" else match[1]
      arguments = [part.strip() for part in match[2].split(", ")]
      if name == "writev":  # as one write
        name, arguments = "write", [arguments[0], "".join(re.findall(r'iov_base="([^"]*)"', match[2]))]
      out.append((name, arguments, int(match[3])))
  return out


def _bytes(argument: str) -> bytes:
  return bytes.fromhex(argument.strip('"').replace("\\x", ""))


def _text(argument: str) -> str:
  return _bytes(argument).decode() if argument.startswith('"') else ""
