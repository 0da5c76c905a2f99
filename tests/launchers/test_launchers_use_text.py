"""Trained language models put to use: read back, tested again, exported, trained for longer."""

import dataclasses
import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import TEXT_DATA, final_bits, history, launch, refusal

import dnas
from dnas.data import datasets
from dnas.data.text import Vocabulary
from dnas.run import readings

MODEL = ("--model=awd_lstm", "--awd_lstm.embedding=4", "--awd_lstm.units=5", "--awd_lstm.layers=2")
TRAIN = (*MODEL, "--data.dataset=synthetic_text", *TEXT_DATA, "--train.learning_rate=5", "--train.patience=1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  folder = tmp_path_factory.mktemp("use") / "run"
  assert launch("train", *TRAIN, "--train.epochs=2", f"--workdir={folder}") == 0
  return folder


@pytest.fixture(scope="module")
def text(model):
  return " ".join(word for word in model.vocabulary.words[:9] if not word.startswith("<"))


def logits_of(model, ids):
  """Logits of the token after every token of one text, by the whole text at once, [N, V]."""
  return np.asarray(model.forward(model.variables, jnp.asarray(ids)[:, None], model.initial_hidden(1))[0])[:, 0]


def softmax(logits):
  return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


def test_a_test_repeats_the_numbers_of_the_training_and_counts(copy, capsys):
  result = json.loads((copy / "result.json").read_text())
  for split in ("test", "valid", "train"):
    assert launch("test", f"--run={copy}", f"--split={split}") == 0
  found = {split: json.loads((copy / "tests" / f"synthetic_text_{split}.json").read_text()) for split in ("test", "valid", "train")}
  assert found["test"]["perplexity"] == result["test/perplexity"] and found["test"]["loss"] == result["test/loss"]
  assert found["valid"]["perplexity"] == pytest.approx(result["best/valid_perplexity"], rel=1e-6)
  assert len(readings.load(copy)) == 2 and capsys.readouterr().out.count("test sets were read 2 times") == 1


def test_the_perplexity_of_a_text_is_that_of_its_probabilities(model, text):
  ids = model.encode(text)
  logits = logits_of(model, ids[:-1]).astype(np.float64)
  loss = -np.mean([np.log(softmax(row)[word]) for row, word in zip(logits, ids[1:], strict=True)])
  assert model.perplexity(text) == pytest.approx({"loss": loss, "perplexity": np.exp(loss)}, rel=1e-5)


def test_the_next_word_is_predicted_and_written(model, text, compilations):
  ids = list(model.encode(text)[:-1])
  np.testing.assert_allclose(model.predict_text(text), softmax(logits_of(model, ids)[-1]), rtol=1e-4, atol=1e-6)
  for _ in range(8):
    ids.append(int(logits_of(model, ids)[-1].argmax()))
  written = [line.split() for line in model.generate(text, 8, temperature=0).split("\n")]
  words = model.vocabulary.decode(ids[-8:])
  assert [word for line in written for word in line] == [word for word in words if word != "<eos>"]
  assert len(written) == 1 + words.count("<eos>")
  with compilations() as compiled:
    drawn = [model.generate(" ".join([text] * times), 20, temperature, key) for times, temperature, key in ((1, 2.0, 1), (3, 2.0, 1))]
    again = model.generate(text, 20, 2.0, jax.random.key(1))
    other = model.generate(text, 20, 2.0, 2)
  assert drawn[0] == again != other and not [name for name in compiled if "_last" in name or "_drawn" in name]
  assert model.generate(text + "\n", 8, 0) != "" and len(model.predict_text(text + "\n")) == len(model.vocabulary)


def test_a_word_that_the_vocabulary_lacks_counts_as_unknown(model, text, caplog):
  with caplog.at_level(logging.WARNING):
    ids = model.encode(f"{text} unheardof")
  assert model.vocabulary.words[ids[-2]] == "<unk>" and "1 word is not in the vocabulary; '<unk>' stands there." in caplog.text


@pytest.mark.parametrize(
  ("call", "sentence"),
  [
    (lambda model: model.perplexity(""), "the text '' has no word; give at least one."),
    (lambda model: model.generate(" \n", 5), "the text ' .n' has no word; give at least one."),
    (lambda model: model.predict_text(3), "the text is 3; give a text in quotes."),
    (lambda model: model.generate("tree", 0), "length is 0; it must be a whole number of tokens, 1 to 1,000,000."),
    (lambda model: model.generate("tree", 5, -1.0), "temperature is -1.0; it must be zero or more, and below 1,000,000."),
    (lambda model: model.generate("tree", 5, float("nan")), "temperature is nan; it must be zero or more"),
    (lambda model: model.generate("tree", 5, 1.0, "x"), "key is 'x'; give a seed, or a typed random key"),
  ],
)
def test_what_cannot_be_used(call, sentence, model):
  with pytest.raises(dnas.InputError, match=sentence):
    call(model)


def test_a_vocabulary_without_unknown_words_refuses_them(model):
  words = tuple(word for word in model.vocabulary.words if word != "<unk>")
  other = type("Other", (), {"level": "word", "vocabulary": Vocabulary(words)})()
  with pytest.raises(dnas.InputError, match="The vocabulary lacks 'unheardof', and has no '<unk>'"):
    dnas.TextModel.encode(other, "tree unheardof")


def test_an_artifact_reads_a_word_per_call(model, trained, tmp_path, text):
  pytest.importorskip("flatbuffers")
  assert launch("export", f"--run={trained}", f"--workdir={tmp_path}", "--format=jax") == 0
  network = jax.export.deserialize(bytearray((tmp_path / "network.jax").read_bytes()))
  about = json.loads((tmp_path / "about.json").read_text())
  assert about["vocabulary"] == list(model.vocabulary.words)
  ids, hidden, rows = model.encode(text), [jnp.zeros((2, *shape[1:])) for shape in about["hidden"]], []
  for word in ids:
    logits, hidden = network.call(jnp.full(2, word, jnp.int32), hidden)
    rows.append(logits[1])
  np.testing.assert_allclose(np.stack(rows), logits_of(model, ids), rtol=1e-4, atol=1e-5)


def test_a_longer_training_ends_with_the_bits_of_an_unbroken_one(copy, tmp_path):
  for folder in (tmp_path / "whole", copy):
    assert launch("train", *TRAIN, "--train.epochs=4", f"--workdir={folder}") == 0
  assert final_bits(copy) == final_bits(tmp_path / "whole") and history(copy) == history(tmp_path / "whole")


def test_a_training_that_ended_by_itself_is_not_made_longer(copy, capsys):
  metrics = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
  (copy / "metrics.jsonl").write_text(metrics[0])
  said = refusal(capsys, "train", copy, *TRAIN, "--train.epochs=4")
  assert said.endswith("was begun with 2 epochs and ended by itself after 1, so more epochs change nothing.")


def test_another_text_is_read_in_the_vocabulary_of_the_network(copy, capsys, monkeypatch):
  plain = datasets.load_text("synthetic_text")
  words = dnas.load_run(copy).vocabulary.words
  order = np.random.default_rng(0).permutation(len(words))
  position = np.argsort(order)
  shuffled = Vocabulary(tuple(words[index] for index in order))
  other = dataclasses.replace(
    plain, vocabulary=shuffled, train=position[plain.train].astype(np.int32), valid=position[plain.valid].astype(np.int32)
  )
  monkeypatch.setattr(datasets, "text_from_config", lambda config: other)
  assert launch("test", f"--run={copy}", "--split=valid") == 0
  found = json.loads((copy / "tests" / "synthetic_text_valid.json").read_text())
  best = json.loads((copy / "result.json").read_text())["best/valid_perplexity"]
  assert found["perplexity"] == pytest.approx(best, rel=1e-6) and "0 words of" in capsys.readouterr().out
