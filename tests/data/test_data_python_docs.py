"""The built-in text: prose out of the markup of Python's documents, and splits that share nothing. Counts differ between Pythons."""

import sys
from pydoc_data import topics

import numpy as np
import pytest

from dnas.core.errors import InputError
from dnas.data import base, datasets, python_docs


def test_the_documents_of_python_are_prose():
  documents = python_docs.prose()
  sentences = [sentence for document in documents.values() for sentence in document]
  assert list(documents) == sorted(documents) and len(sentences) == len(set(sentences)) > 1500
  words = " ".join(sentences).split(" ")
  assert 30_000 < len(words) < 60_000
  assert set("".join(words)) <= set("abcdefghijklmnopqrstuvwxyz0123456789N'_.:-,"), "markup is left"
  plain = [word for word in words if word.isalpha()]
  assert len(plain) > 0.95 * len(words) and words.count("N") > 30 and words.count("the") > 0.06 * len(words)
  assert not {word for word in words if word in ("::=", ">>>") or word[0] in ",.:-" or word[-1] in ",.:-"}
  assert min(len(sentence.split()) for sentence in sentences) >= 3


def test_the_splits_of_the_documents_of_python_share_no_document_and_no_sentence():
  documents, dataset = python_docs.prose(), datasets.load_text("python_docs")
  assert not set(python_docs.VALID) & set(python_docs.TEST)
  assert set(python_docs.VALID + python_docs.TEST) <= {name for name, sentences in documents.items() if len(sentences) > 10}
  test = base.open_test(dataset, "a test of it")
  sizes = np.array([len(dataset.train), len(dataset.valid), len(test)])
  assert sizes.sum() == sum(len(sentence.split()) + 1 for document in documents.values() for sentence in document)
  assert all(0.07 < size / sizes.sum() < 0.12 for size in sizes[1:])
  assert sizes[1] == sum(len(sentence.split()) + 1 for name in python_docs.VALID for sentence in documents[name])
  assert 1000 < len(dataset.vocabulary) < 2500
  assert dataset.unknown["train"] / sizes[0] < 0.06 and dataset.unknown["valid"] / sizes[1] < 0.13


@pytest.mark.parametrize(
  ("written", "expected"),
  [
    ('Called by "repr()" to\ncompute it.  The *name* is “official”.\n', ["called by repr to compute it", "the name is official"]),
    ("It doesn’t use post-\nmortem mode (see section X); Python’s 3.11 does.\n", ["it does n't use post-mortem mode python 's N does"]),
    ("* First item ends (re)bound.\n\n* The second [1] item(s) end.\n", ["first item ends rebound", "the second items end"]),
    ("Note:\n\n  Changed in version 3.8: The *key* argument was added.\n", ["the key argument was added"]),
    ('   if_stmt ::= "if" a\n\nstr.count(sub[, start])\n\n   >>> print("This is a test.")\n   This\n', []),
    ("A heading here\n**************\n\nIf a < b then it is so.\n\nToo short.\n", []),
    ('Some "f(a.b, c)" and "async for" and "\'utf-8\'".\n', ["some f and async for and utf-8"]),
  ],
)
def test_prose_is_taken_from_markup(monkeypatch: pytest.MonkeyPatch, written: str, expected: list[str]):
  monkeypatch.setattr(topics, "topics", {"small": written, "large": "Nothing of it.\n" * 9})
  assert python_docs.prose() == {"large": ["nothing of it"], "small": expected}


def test_a_sentence_belongs_to_its_largest_document(monkeypatch: pytest.MonkeyPatch):
  shared, own = "A shared sentence here.\n", "An own sentence here.\n"
  monkeypatch.setattr(topics, "topics", {"a": shared + own, "b": shared + "Another sentence to come.\n"})
  assert python_docs.prose() == {"a": ["an own sentence here"], "b": ["a shared sentence here", "another sentence to come"]}


def test_a_python_without_its_documents_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
  expected = r"^The text 'python_docs' is part of Python, and this Python lacks it \(.*\); give another text\.$"
  with pytest.raises(InputError, match=expected):
    datasets.load_text("python_docs")
