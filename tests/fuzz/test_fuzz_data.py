"""Data sets, texts and their readers, fuzzed; see `fuzz_units`."""

import dataclasses
import gzip
import math
import pickle
import struct
import sys

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fuzz_units import REFUSED, fuzzed, outcome
from fuzzing import ANYTHING, NUMBERS, TEXTS, check_settings, damaged, settings_of
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dnas.data import augment, base, batches, datasets, own_images, published, splits, text, text_file, windows

SEEDS = st.integers(0, 2**63 - 1)


# Configurations.


@fuzzed(150, values=settings_of(base.Config))
def test_settings_of_images(values):
  check_settings(base.Config, values)


@fuzzed(150, values=settings_of(text.Config))
def test_settings_of_texts(values):
  check_settings(text.Config, values)


# Sets of a user's own.

IMAGES = npst.arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 4))
SOME_LABELS = st.one_of(
  npst.arrays(npst.integer_dtypes(), st.integers(0, 6)), npst.arrays(np.int64, st.integers(1, 6), elements=st.integers(-1, 4))
)


@fuzzed(200, images=st.one_of(IMAGES, ANYTHING), labels=st.one_of(SOME_LABELS, ANYTHING))
def test_a_split_holds_what_was_given_or_refuses_it(images, labels):
  split = outcome(base.Split, images, labels)
  if split is not REFUSED:
    assert split.images.dtype == np.uint8 and split.images.ndim == 4 and split.images.size and np.array_equal(split.images, images)
    assert split.labels.dtype == np.int32 and split.labels.tolist() == np.asarray(labels).tolist() and (split.labels >= 0).all()
    assert len(split) == len(split.images)


@st.composite
def image_sets(draw):
  """Fields of an `ImageDataset`, of which one may be anything."""
  number, classes, channels = draw(st.integers(1, 24)), draw(st.integers(2, 4)), draw(st.integers(1, 3))
  images = draw(npst.arrays(np.uint8, (number, 3, 3, channels)))
  labels = draw(npst.arrays(np.int64, number, elements=st.integers(0, classes - 1)))
  mean, std = base.channel_statistics(images)
  fields = {"num_classes": classes, "mean": mean, "std": std, "class_names": tuple(map(str, range(classes)))}
  fields |= {"name": "own", "published": draw(st.booleans()), "train": base.Split(images, labels)}
  strange = draw(st.sampled_from((*fields, *[None] * 7)))
  if strange:
    fields[strange] = draw(st.one_of(ANYTHING, NUMBERS, st.lists(NUMBERS, min_size=channels, max_size=channels)))
  return fields


def made(fields):
  return outcome(base.ImageDataset, **fields, _read_test=lambda: fields["train"])


@fuzzed(150, fields=image_sets())
def test_a_set_fits_together_or_is_refused(fields):
  dataset = made(fields)
  if dataset is not REFUSED:
    channels = dataset.train.images.shape[-1]
    assert len(dataset.mean) == len(dataset.std) == channels
    assert all(0 <= value <= 1 for value in dataset.mean) and all(0 < value <= 1 for value in dataset.std)
    assert dataset.num_classes == len(set(dataset.class_names)) == len(dataset.class_names) > dataset.train.labels.max()
    normalized = augment.normalize.__wrapped__(jnp.asarray(dataset.train.images), dataset.mean, dataset.std)
    assert np.isfinite(normalized).all() and normalized.dtype == jnp.float32
    outcome(dataset.checked_test, fields["train"])


@fuzzed(80, fields=image_sets(), values=settings_of(base.Config), count=st.integers(0, 30))
def test_a_division_is_complete(fields, values, count):
  dataset, data = made(fields), check_settings(base.Config, values)
  hypothesis.assume(dataset is not REFUSED and data is not REFUSED)
  numbers = np.arange(len(dataset.train))
  marked = np.broadcast_to(numbers.astype(np.uint8)[:, None, None, None], dataset.train.images.shape)
  dataset = dataclasses.replace(dataset, train=base.Split(marked, dataset.train.labels))
  some = outcome(base.some_examples, dataset, data)
  if some is not REFUSED:
    assert len(some.train) == (data.examples or len(dataset.train))
  parts = outcome(base.training_split, dataset, data)
  if parts is REFUSED:
    return
  train, valid = parts
  given = np.concatenate([part.images[:, 0, 0, 0] for part in parts if part is not None])
  assert sorted(given.tolist()) == numbers.tolist() and len(train) == math.floor(data.train_portion * len(numbers))
  assert (valid is None) == (data.train_portion == 1)
  for part in filter(None, parts):
    order = part.images[:, 0, 0, 0]
    assert (np.diff(order.astype(int)) > 0).all() and (part.labels == dataset.train.labels[order]).all()
    assert dataset.published or len(np.unique(part.labels)) == dataset.num_classes
  weights = base.class_weights(train, dataset.num_classes, data.class_weights)
  if weights is not None:
    assert np.mean(np.take(weights, train.labels)) == pytest.approx(1) and len(weights) == dataset.num_classes


@pytest.mark.parametrize("name", list(splits.SPLITS))
def test_every_registered_division(name):
  @fuzzed(80, labels=npst.arrays(np.int32, st.integers(1, 60), elements=st.integers(0, 5)), share=st.floats(0, 1), seed=SEEDS)
  def divide(labels, share, seed):
    count = round(share * len(labels))
    first = splits.SPLITS[name](labels, count, seed)
    assert first.dtype == bool and first.shape == labels.shape and first.sum() == count
    assert (first == splits.SPLITS[name](labels.copy(), count, seed)).all()
    if name == "stratified":
      own = np.bincount(labels[first], minlength=6) - count / len(labels) * np.bincount(labels, minlength=6)
      assert np.abs(own).max() < 1

  divide()


# Batches and augmentation.


@fuzzed(6, number=st.integers(1, 13), batch_size=st.integers(1, 15), epoch=st.integers(0, 2**31 - 1), seed=st.integers(0, 99))
def test_batches_visit_every_example(number, batch_size, epoch, seed):
  images = np.arange(number, dtype=np.uint8)[:, None, None, None]
  split, key = batches.to_device(base.Split(images, np.arange(number))), jax.random.key(seed)
  order = batches.epoch_permutation(key, epoch, number)
  assert sorted(order.tolist()) == list(range(number))
  count = batches.num_batches(number, batch_size)
  shuffled = [outcome(batches.shuffled_batch, split, order, index, batch_size) for index in range(count)]
  drawn = outcome(batches.random_batch, split, key, batch_size)
  assert (drawn is REFUSED) == (shuffled[0] is REFUSED) == (batch_size > number)
  if drawn is not REFUSED:
    labels = np.concatenate([labels for _, labels in shuffled])
    assert labels.tolist() == [*order.tolist(), *order.tolist()][: count * batch_size]
    assert len(set(drawn[1].tolist())) == batch_size
    assert all((x[:, 0, 0, 0] == y).all() for x, y in (*shuffled, drawn))
  padded = [batches.padded_batch(split, index, batch_size) for index in range(count)]
  assert [int(y) for _, labels, weights in padded for y, w in zip(labels, weights, strict=True) if w] == list(range(number))


@fuzzed(
  6,
  images=npst.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(1, 2))),
  padding=st.integers(0, 6),
  flip=st.booleans(),
  cutout=st.integers(0, 6).map(lambda half: 2 * half),
  seed=st.integers(0, 99),
)
def test_an_augmented_image_is_a_window_of_the_padded_one(images, padding, flip, cutout, seed):
  channels = images.shape[-1]
  settings = {"mean": (0.25,) * channels, "std": (0.5,) * channels, "crop_padding": padding, "flip": flip, "cutout_length": cutout}
  out = np.asarray(augment.augment(jax.random.key(seed), images, **settings))
  assert out.shape == images.shape and out.dtype == np.float32
  height, width = images.shape[1:3]
  for image, result in zip(images, out, strict=True):
    padded = (np.pad(image, ((padding, padding), (padding, padding), (0, 0))) / 255 - 0.25) / 0.5
    windows_of = [padded[y : y + height, x : x + width] for y in range(2 * padding + 1) for x in range(2 * padding + 1)]
    windows_of += [window[:, ::-1] for window in windows_of] if flip else []
    erased = (result == 0).all(-1)
    assert cutout or not erased.any() or (padded == 0).any()
    assert any(np.allclose(window[~erased], result[~erased], atol=1e-6) for window in windows_of)
    rows, columns = (np.flatnonzero(erased.any(axis)) for axis in (1, 0))
    assert not cutout or (np.ptp(rows) < cutout and np.ptp(columns) < cutout and len(rows) and len(columns))


# Registered data sets.

LOADERS = {name: (base.DATASETS, name) for name in datasets.DATASETS} | {name: (text.TEXTS, name) for name in datasets.TEXTS}


OWN = own_images.OwnImages, text_file.OwnText
"""They read files of a user, and no file of their own."""


def load(name, data_dir, level="word"):
  loader = LOADERS[name][0][name]
  return loader(data_dir) if name in base.DATASETS else loader(data_dir, level)


def published_form(name):
  """Returns what the files of a set are called, or None for a built-in one."""
  module = sys.modules[LOADERS[name][0][name].__module__]
  forms = [value for value in vars(module).values() if isinstance(value, published.Published)]
  return next((form for form in forms if len(forms) == 1 or form.folder.replace("-", "").startswith(name)), None)


def check_loaded(dataset):
  """Goes once through what a loader returned, the test set too."""
  test = outcome(base.open_test, dataset, "a fuzzed test")
  if isinstance(dataset, base.ImageDataset):
    parts = [part for part in (dataset.train, test) if part is not REFUSED]
    assert all(part.images.dtype == np.uint8 and part.images.shape[1:] == dataset.train.images.shape[1:] for part in parts)
    assert all(0 <= part.labels.min() <= part.labels.max() < dataset.num_classes for part in parts)
  else:
    parts = [ids for ids in (dataset.train, dataset.valid, test) if ids is not REFUSED]
    assert all(ids.dtype == np.int32 and len(ids) >= 2 and 0 <= ids.min() <= ids.max() < len(dataset.vocabulary) for ids in parts)
    assert len(dataset.vocabulary) == len(set(dataset.vocabulary.words))


@pytest.mark.parametrize("name", list(LOADERS))
def test_folders_of_every_registered_set(name):
  @fuzzed(25, folder=TEXTS.filter(bool), level=st.one_of(TEXTS, st.sampled_from(text.LEVELS)))
  def look(folder, level):
    assert outcome(load, name, f"/nowhere/{folder}", level) is REFUSED
    assert outcome(load, name, folder, level) is REFUSED or not published_form(name)

  look()
  if not published_form(name) and not isinstance(LOADERS[name][0][name], OWN):
    check_loaded(load(name, ""))


def _cifar(labels_key, number):
  data = np.random.default_rng(0).integers(0, 256, (number, 3072), np.uint8)
  return pickle.dumps({b"data": data, labels_key: (np.arange(number) % 10).tolist()}, protocol=2)


def _idx(*shape):
  return gzip.compress(bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(math.prod(shape)), mtime=0)


WELL_FORMED = {
  "cifar10": lambda file: _cifar(b"labels", 2),
  "cifar100": lambda file: _cifar(b"fine_labels", 2),
  "fashion_mnist": lambda file: _idx(3, 28, 28) if "images" in file else _idx(3),
  "ptb": lambda file: b" aer banknote <unk> \n \n N mr . <unk> \n",
  "wikitext2": lambda file: ' \n = Robert <unk> = \n \n é "x" @-@ \n'.encode(),
}
"""Name of a published set to the content of a small file of it; of a set without, files of random bytes are tried."""


@pytest.mark.parametrize("name", [name for name in LOADERS if published_form(name)])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_damaged_files_of_every_published_set(name, tmp_path, little_memory):
  form = published_form(name)
  well_formed = {file: WELL_FORMED.get(name, lambda file: b"")(file) for file in form.files}

  def write(file, content):
    (tmp_path / file).write_bytes(content)

  @fuzzed(60, file=st.sampled_from(form.files), data=st.data(), level=st.sampled_from(text.LEVELS))
  def read(file, data, level):
    for other, content in well_formed.items():
      write(other, content)
    write(file, data.draw(damaged(well_formed[file])))
    dataset = outcome(load, name, str(tmp_path), level)
    if dataset is not REFUSED:
      check_loaded(dataset)

  read()


# Texts.

_WORDS = st.sampled_from(("a", "b", text.UNKNOWN, "é\u0301", "x" * 40))
LINES = st.lists(st.one_of(st.text(max_size=12), st.lists(_WORDS).map(" ".join)), max_size=6)


@fuzzed(150, train=LINES, valid=LINES, test=LINES, level=st.sampled_from((*text.LEVELS, "words")), smallest=st.integers(1, 3))
def test_a_text_comes_back_from_its_ids(train, valid, test, level, smallest):
  read = {"train": train, "valid": valid, "test": test}.__getitem__
  dataset = outcome(text.from_lines, "own", level, read, smallest)
  if dataset is REFUSED:
    return
  check_loaded(dataset)
  for split, ids in (("train", dataset.train), ("valid", dataset.valid)):
    tokens = list(text.tokens_of(read(split), level))
    back = dataset.vocabulary.decode(ids)
    lost = [token for token, other in zip(tokens, back, strict=True) if token != other]
    assert len(lost) == dataset.unknown[split] and set(back) - set(tokens) <= {text.UNKNOWN}
    assert tokens.count(text.END) - back.count(text.END) == lost.count(text.END)
  shorter = outcome(text.first_tokens, dataset, len(train))
  assert shorter is REFUSED or len(shorter.train) == (len(train) or len(dataset.train))


@fuzzed(200, words=st.lists(st.one_of(TEXTS, ANYTHING), max_size=5).map(tuple), tokens=st.lists(TEXTS, max_size=4))
def test_a_vocabulary_comes_back_from_its_file(words, tokens):
  vocabulary = outcome(text.Vocabulary, words)
  if vocabulary is REFUSED:
    return
  assert len(set(words)) == len(words) == len(vocabulary)
  written = vocabulary.to_text().encode().decode()
  assert not words or text.Vocabulary.from_text(written) == vocabulary
  encoded = outcome(vocabulary.encode, tokens)
  if encoded is not REFUSED:
    ids, lacking = encoded
    assert ids.dtype == np.int32 and lacking == sum(token not in words for token in tokens)
    assert all(back in (token, text.UNKNOWN) for back, token in zip(vocabulary.decode(ids), tokens, strict=True))


@fuzzed(200, content=st.one_of(st.text(max_size=40), st.sampled_from(("\\x4", "\\N{x}", "a\\", "\\ud800", "a\n\nb", "a\r\nb", "é\\n"))))
def test_any_file_of_a_vocabulary(content):
  vocabulary = outcome(text.Vocabulary.from_text, content)
  if vocabulary is not REFUSED:
    assert text.Vocabulary.from_text(vocabulary.to_text()) == vocabulary and len(set(vocabulary.words)) == len(vocabulary)


@fuzzed(150, ids=st.one_of(npst.arrays(npst.integer_dtypes(), st.integers(0, 9)), ANYTHING), bound=st.integers(1, 5))
def test_token_ids_of_a_users_own(ids, bound):
  vocabulary = text.Vocabulary(tuple("abcde")[:bound])
  dataset = outcome(text.TextDataset, "own", "word", ids, np.zeros(2, int), vocabulary, {}, _read_test=lambda: ids)
  if dataset is not REFUSED:
    assert dataset.train.tolist() == np.asarray(ids).tolist()
    check_loaded(dataset)


@fuzzed(60, content=st.one_of(st.binary(max_size=40), st.text(max_size=40).map(lambda text: text.encode("utf-8", "ignore"))), name=TEXTS)
def test_any_file_of_lines(content, name, tmp_path_factory):
  path = tmp_path_factory.getbasetemp() / "lines.txt"
  path.write_bytes(content)
  lines = outcome(published.read_lines, path, 3)
  if lines is not REFUSED:
    assert " ".join(lines).split() == content.decode("utf-8-sig").split() and not any(line != line.strip() for line in lines)
  assert outcome(published.read_lines, path.parent / f"no {name}", 3) is REFUSED


@fuzzed(12, number=st.integers(2, 400), values=settings_of(text.Config), seed=st.integers(0, 2**63 - 1), short=st.integers(2, 9))
def test_windows_go_down_the_columns(number, values, seed, short):
  kept = {name: values[name] for name in ("buckets", "short_probability", "batch_size") if name in values}
  settings = {"sequence_length": short, "length_deviation": 2.0, "batch_size": 3} | kept
  data = check_settings(text.Config, settings)
  hypothesis.assume(data is not REFUSED and data.batch_size < 10**4 and data.buckets < 10**4)
  tokens = np.arange(number, dtype=np.int32)
  drawn = outcome(windows.TrainingWindows, tokens, data, seed)
  rows = (number - 1) // data.batch_size
  assert (drawn is REFUSED) == (rows < short)
  assert (outcome(windows.ValidationWindows, tokens, data) is REFUSED) == (rows < short)
  if drawn is not REFUSED:
    steps = drawn.end_of_epoch(2)
    lengths = [drawn.length(step) for step in range(steps)]
    assert sum(lengths) == 2 * rows and all(0 < length <= drawn.longest for length in lengths)
    assert drawn.length(steps) == windows.TrainingWindows(tokens, data, seed).length(steps)
  filled = windows.columns(tokens, data.batch_size, 0, fill=True)
  weights = windows.counted(filled, jnp.int32(0), filled.rows)
  targets = np.asarray(filled.tokens[1 : filled.rows + 1])[np.asarray(weights) > 0]
  assert sorted(targets.tolist()) == list(range(1, number))
