"""Checkpoints: bit-exact restoration, and what happens to damaged, foreign, left-over and unwritable ones."""

import dataclasses
import json
import pathlib
import random
import shutil
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import test_run_run_folder
from run_toy import Toy, bits

from dnas.core import durable
from dnas.core.errors import InputError
from dnas.run.checkpoint import Checkpoints


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Everything:
  params: dict
  opt: tuple
  keys: jax.Array
  host: np.ndarray


def everything(seed: int) -> Everything:
  rng = np.random.default_rng(seed)
  params = {
    "w": jnp.asarray(rng.normal(size=(300, 40)), jnp.float32),
    "odd": jnp.asarray([True, False, seed % 2 == 0]),
    "half": jnp.asarray(rng.normal(size=5), jnp.bfloat16),
    "special": jnp.asarray([jnp.inf, -0.0, 1e-45], jnp.float32),
    "none": jnp.zeros((0, 3)),
  }
  opt = optax.adam(1e-3).init({"w": params["w"]})
  return Everything(params, opt, jax.random.key_data(jax.random.split(jax.random.key(seed), 2)), rng.integers(0, 255, 7).astype(np.uint8))


def text_of(error) -> str:
  text = str(error.value)
  assert "\n" not in text and text.endswith(".") and "Traceback" not in text
  return text


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """A folder with checkpoints of steps 10 and 20."""
  folder = tmp_path_factory.mktemp("saved") / "checkpoints"
  with Checkpoints(folder) as checkpoints:
    for step in (10, 20):
      checkpoints.save(step, everything(step), {"history": [{"loss": step / 3}]})
  return folder


@pytest.fixture
def folder(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / "checkpoints")


def restored(folder, like=None):
  with Checkpoints(folder) as checkpoints:
    return checkpoints.restore(everything(0) if like is None else like)


def test_restores_every_bit_and_the_structure(saved):
  step, state, extra = restored(saved)
  assert (step, extra) == (20, {"history": [{"loss": 20 / 3}]})
  assert bits(state) == bits(everything(20)) and jax.tree.structure(state) == jax.tree.structure(everything(20))
  assert isinstance(state.host, np.ndarray) and isinstance(state.keys, jax.Array)
  assert not state.params["w"].committed  # as it would be in the unbroken run


def test_an_empty_folder_has_nothing_to_restore(tmp_path):
  assert restored(tmp_path / "new") is None


def test_what_the_caller_adds_comes_back_as_json_gives_it(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, everything(1), {"counts": {10: (0.1, float("inf")), 9: "\u00e9"}})
    checkpoints.wait()
    assert checkpoints.restore(everything(1)).extra == {"counts": {"10": [0.1, float("inf")], "9": "\u00e9"}}
    with pytest.raises(TypeError):
      checkpoints.save(2, everything(1), {"scalar": np.float32(1)})


def test_keeps_the_newest_two(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    for step in range(1, 5):
      checkpoints.save(step, everything(step), {})
    checkpoints.wait()
    assert checkpoints.latest == 4
  assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"]
  assert len([path for path in (tmp_path / "4").rglob("*") if path.is_file()]) < 15


def test_what_follows_a_save_does_not_reach_it(tmp_path):
  @jax.jit
  def start():
    return jnp.arange(500_000, dtype=jnp.float32)

  change = jax.jit(lambda x: x * -1.0 - 3.0, donate_argnums=0)
  x, host, history = start(), np.arange(1000), [1]
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, (x, host), {"history": history})
    history.append(2)
    host[:] = 0
    for _ in range(20):
      x = change(x)
    x.block_until_ready()
    checkpoints.wait()
    _, (y, host), extra = checkpoints.restore((x, host))
  assert np.array_equal(y, np.arange(500_000)) and np.array_equal(host, np.arange(1000)) and extra == {"history": [1]}


def test_a_small_save_blocks_for_little(tmp_path):
  times = []
  with Checkpoints(tmp_path) as checkpoints:
    for step in range(6):
      checkpoints.wait()
      begin = time.perf_counter()
      checkpoints.save(step, Toy().init(), {})
      times.append(time.perf_counter() - begin)
  assert min(times) < 0.1


def biggest(path):
  return max((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def flip(file, position):
  data = bytearray(file.read_bytes())
  data[position % len(data)] ^= 0x10
  file.write_bytes(data)


def change_a_number(path):
  file = path / "contents" / "metadata"
  text = file.read_text()
  changed = text.replace("6.666666666666667", "6.666666666666661")
  assert changed != text
  file.write_text(changed)
  json.loads(changed)


DAMAGES = {
  "flipped byte of the arrays": lambda path: flip(biggest(path / "leaves"), 20_000),
  "truncated arrays": lambda path: biggest(path / "leaves").write_bytes(biggest(path / "leaves").read_bytes()[:20_000]),
  "arrays missing": lambda path: shutil.rmtree(path / "leaves"),
  "file of the arrays missing": lambda path: biggest(path / "leaves").unlink(),
  "contents missing": lambda path: (path / "contents" / "metadata").unlink(),
  "contents broken": lambda path: (path / "contents" / "metadata").write_text('{"leaves": [['),
  "contents of another kind": lambda path: (path / "contents" / "metadata").write_text("[1]"),
  "contents with one digit changed": change_a_number,
  "nothing but the folder": lambda path: (shutil.rmtree(path), path.mkdir()),
  "a file in the folder's place": lambda path: (shutil.rmtree(path), path.write_text("")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(folder, damage, caplog):
  damage(folder / "20")
  with Checkpoints(folder) as checkpoints:
    step, state, extra = checkpoints.restore(everything(0))
    assert (step, extra["history"]) == (10, [{"loss": 10 / 3}]) and bits(state) == bits(everything(10))
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1 and str(folder / "20") in warnings[0] and "step 20" in warnings[0]
    checkpoints.save(20, everything(20), {})  # the run goes on over the same steps
    checkpoints.save(30, everything(30), {})
  assert sorted(path.name for path in folder.iterdir()) == ["20", "20.damaged", "30"]
  assert restored(folder).step == 30 and len(caplog.records) == 1


def test_a_byte_flipped_anywhere_never_gives_another_state(saved, tmp_path):
  rng = random.Random(3)
  files = [path.relative_to(saved) for path in (saved / "20").rglob("*") if path.is_file()]
  seen = set()
  for number, file in enumerate(files * 3):
    folder = shutil.copytree(saved, tmp_path / str(number))
    if (folder / file).stat().st_size:
      flip(folder / file, rng.randrange(10**6))
    step, state, extra = restored(folder)
    assert bits(state) == bits(everything(step)) and extra == {"history": [{"loss": step / 3}]}, file
    seen.add(step)
  assert seen == {10, 20}  # some files matter, and a mark of success does not


def test_all_damaged_is_an_error_and_touches_nothing(folder):
  for step in ("10", "20"):
    flip(biggest(folder / step / "leaves"), 20_000)
  before = sorted(folder.rglob("*"))
  with pytest.raises(InputError) as error:
    restored(folder)
  assert str(folder) in text_of(error) and "delete that folder" in text_of(error) and sorted(folder.rglob("*")) == before


def test_leftovers_of_killed_saves_are_removed(folder):
  shutil.copytree(folder / "20", folder / "30.orbax-checkpoint-tmp")
  shutil.copytree(folder / "20" / "leaves", folder / "31.orbax-checkpoint-tmp" / "leaves.orbax-checkpoint-tmp")
  with Checkpoints(folder) as checkpoints:
    assert checkpoints.restore(everything(0)).step == 20
    checkpoints.save(30, everything(30), {})
    checkpoints.wait()
    assert sorted(path.name for path in folder.iterdir()) == ["20", "30"]
    assert checkpoints.restore(everything(0)).step == 30


def test_what_a_person_keeps_beside_checkpoints_stays(folder):
  mine = ("20.bak", "notes.txt", "30.orbax-checkpoint-tmp.bak", "best.unsynced", "7.unsynced2")
  for name in mine:
    (folder / name).mkdir()
  (folder / "20.damaged").mkdir()
  flip(biggest(folder / "20" / "leaves"), 20_000)
  with Checkpoints(folder) as checkpoints:
    assert checkpoints.restore(everything(0)).step == 10
    for step in (20, 30):
      checkpoints.save(step, everything(step), {})
  assert {path.name for path in folder.iterdir()} == {*mine, "20.damaged", "20.damaged.1", "20", "30"}


def test_leftovers_of_killed_saves_and_removals_are_cleared_away(folder):
  for name in ("30.unsynced", "31.unsynced.orbax-checkpoint-tmp", "32.orbax-checkpoint-tmp-123", "9.removed"):
    shutil.copytree(folder / "20", folder / name)
  with Checkpoints(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["10", "20"]


@pytest.mark.parametrize("call", ["sync_tree", "sync_folder"])
def test_nothing_older_is_removed_before_the_new_one_is_on_disk(folder, monkeypatch, call):
  sync = getattr(durable, call)

  def fail(path):
    if call == "sync_tree" or path == folder:
      raise OSError(5, "Input/output error")
    sync(path)

  with monkeypatch.context() as patch, pytest.raises(InputError, match=r"step 30 cannot be written .* \(input/output error\)"):
    with Checkpoints(folder) as checkpoints:
      patch.setattr(durable, call, fail)
      checkpoints.save(30, everything(30), {})
  assert {"10", "20"} <= {path.name for path in folder.iterdir()}
  assert restored(folder).step == (30 if call == "sync_folder" else 20)


@pytest.mark.parametrize("what", ["20", "20/leaves", "20/contents/metadata", "20/leaves/manifest.ocdbt", ""])
def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(saved, what):
  parent = pathlib.Path(tempfile.mkdtemp())  # others may not enter that of pytest
  folder = shutil.copytree(saved, parent / "checkpoints")
  for path in (parent, *parent.rglob("*")):
    path.chmod(0o755 if path.is_dir() else 0o644)
  mode = (folder / what).stat().st_mode
  (folder / what).chmod(0)
  try:
    with test_run_run_folder.without_rights(), pytest.raises(InputError) as error:
      restored(folder)
  finally:
    (folder / what).chmod(mode)
  text = text_of(error)
  assert "(permission denied)" in text and str(folder) in text and "damaged" not in text and "delete" not in text
  assert sorted(path.name for path in folder.iterdir()) == ["10", "20"]
  shutil.rmtree(parent)


def test_a_folder_that_the_locale_cannot_read_is_refused(tmp_path):
  with pytest.raises(InputError, match="the locale cannot encode the name of the folder") as error:
    Checkpoints(tmp_path / "\udce9")
  assert "delete" not in text_of(error) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  "change, words",
  [
    (lambda s: s | {"w": jnp.zeros((300, 50))}, ["['w']", "float32 of shape (300, 40)", "float32 of shape (300, 50)"]),
    (lambda s: s | {"half": jnp.zeros((5,))}, ["['half']", "bfloat16", "float32"]),
    (lambda s: {name: s[name] for name in s if name != "odd"}, ["['odd']", "bool of shape (3,)", "nothing"]),
    (lambda s: s | {"new": jnp.zeros(())}, ["['new']", "holds nothing", "float32 of shape ()"]),
  ],
)
def test_another_state_is_refused_in_one_sentence(folder, change, words):
  like = dataclasses.replace(everything(0), params=change(everything(0).params))
  with pytest.raises(InputError) as error:
    restored(folder, like)
  assert all(word in text_of(error) for word in [*words, str(folder / "20"), "--workdir"])
  assert sorted(path.name for path in folder.iterdir()) == ["10", "20"]


def test_a_folder_that_cannot_be_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError) as error:
    Checkpoints(tmp_path / "file" / "checkpoints")
  assert str(tmp_path / "file") in text_of(error) and "--workdir" in text_of(error)


@pytest.mark.parametrize(
  "error",
  [
    OSError(28, "No space left on device", "/somewhere"),
    ValueError("RESOURCE_EXHAUSTED: Error writing \"0/0.0\": Failed to write 207 bytes: No space left on device [os_error_code='28']"),
  ],
)
def test_a_full_disk_is_named_and_the_last_good_checkpoint_too(tmp_path, monkeypatch, error):
  def fail(_):
    raise error

  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, everything(1), {})
  checkpoints.wait()
  with monkeypatch.context() as patch:
    patch.setattr(durable, "sync_tree", fail)
    checkpoints.save(2, everything(2), {})
    with pytest.raises(InputError) as raised:
      checkpoints.save(3, everything(3), {})
  text = text_of(raised)
  assert "the checkpoint of step 2 cannot be written" in text and "(no space left on device)" in text
  assert "of step 1, is kept" in text and str(tmp_path) in text
  checkpoints.close()


def test_on_the_way_out_the_first_error_is_the_news(tmp_path, monkeypatch, caplog):
  def fail():
    raise InputError("no space.")

  with pytest.raises(KeyError), Checkpoints(tmp_path) as checkpoints:
    monkeypatch.setattr(checkpoints, "wait", fail)
    raise KeyError
  assert [record.getMessage() for record in caplog.records] == ["no space."]
  with pytest.raises(InputError, match="no space"), Checkpoints(tmp_path) as checkpoints:
    monkeypatch.setattr(checkpoints, "wait", fail)


def test_a_failure_that_was_told_of_is_not_told_of_again_at_the_end(tmp_path, monkeypatch):
  """Orbax raises the error of its background thread once more when it is closed."""

  def fail():
    raise OSError(27, "File too large")

  with pytest.raises(KeyError), Checkpoints(tmp_path) as checkpoints:
    monkeypatch.setattr(checkpoints._checkpointer, "close", fail)
    raise KeyError
  with Checkpoints(tmp_path) as checkpoints:
    monkeypatch.setattr(checkpoints._checkpointer, "close", fail)
    checkpoints.save(1, everything(1), {})
  assert checkpoints.latest == 1


def test_a_part_of_the_state_is_restored_alone(tmp_path):
  @jax.tree_util.register_dataclass
  @dataclasses.dataclass(frozen=True)
  class Part:
    params: dict

  state = everything(3)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state, {})
    checkpoints.wait()
    assert bits(checkpoints.restore(Part(everything(4).params), part=True).state.params) == bits(state.params)
    with pytest.raises(InputError, match="of another run"):
      checkpoints.restore(Part({"others": jnp.zeros(2)}), part=True)
    with pytest.raises(InputError, match="of another run"):
      checkpoints.restore(Part(state.params))


def test_an_array_that_has_grown_is_filled_up(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, {"a": jnp.arange(6.0).reshape(3, 2), "b": jnp.ones(3)}, {})
    checkpoints.wait()
    like = {"a": jnp.zeros((5, 2)), "b": jnp.zeros(3)}
    found = checkpoints.restore(like, grown={"['a']": np.inf}).state
    assert found["a"].tolist() == [[0, 1], [2, 3], [4, 5], [np.inf] * 2, [np.inf] * 2] and found["b"].tolist() == [1, 1, 1]
    for wrong in ({**like, "a": jnp.zeros((2, 2))}, {**like, "a": jnp.zeros((5, 3))}, {**like, "b": jnp.zeros(4)}):
      with pytest.raises(InputError, match="of another run"):
        checkpoints.restore(wrong, grown={"['a']": np.inf})
