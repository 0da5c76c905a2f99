"""English prose that every Python carries: the language reference behind `help()`; no download.

Source: The Python Language Reference, module `pydoc_data.topics`, 79 documents. The text differs a little between versions of Python, so
compare perplexities of one version only.
"""

import re
from collections.abc import Iterator

from dnas.core.errors import InputError
from dnas.data import text
from dnas.data.base import refuse_data_dir

VALID = ("assignment", "comparisons", "import")
TEST = ("execmodel", "objects", "subscriptions", "typesmapping")
"""Documents of the validation and the test split, 9 % of the tokens each; the others train."""
SMALLEST_COUNT = 2

_PARAGRAPH_END = re.compile(r"\n\s*\n|\n(?=\s*(?:\*|\d+\.|\[\d+\])\s)")  # a blank line, or before the next item of a list
_LABEL = re.compile(
  r"\s*(?:(?:\*|\d+\.|\[\d+\])\s+)?"  # the mark of an item
  r"(?:\*\*CPython implementation detail:\*\*|(?:Changed|Deprecated)[^.:]* version [\d.]+:|(?:Note|Warning|See also):\s)?\s*"
)
_REFERENCE = re.compile(r"\([Ss]ee [^()]*\)|\[\d+\]")
_SENTENCE_END = re.compile(r"(?<=[.!?])[)\"]*\s+(?=[(\"*“]*[A-Z])")
_NAME = re.compile(r"\"'?@?(-?\w[\w.]*(?:[ -]\w[\w.]*)*)(?:\([^()\"]*\))?'?\"")  # "name", "a.b(c)", "'utf-8'", "1", "async for"
_EMPHASIS = re.compile(r"\*{1,2}(\w[^*]*)\*{1,2}")
_NOT_PROSE = re.compile(r"[^\w\s.,;:?!()'/-]|://", re.ASCII)
_QUOTES = str.maketrans({"“": "", "”": "", "’": "'", "—": " ", "–": " ", "…": " "})


@text.TEXTS.register("python_docs")
def python_docs(data_dir: str, level: str) -> text.TextDataset:
  """Loads the prose of the language reference, prepared like Penn Treebank.

  A line is a sentence in lower case without punctuation, numbers are 'N', and "it's" is two words. Code, grammar, tables, headings and
  sentences with expressions are left out. The splits hold different documents. Words (or characters) that occur once in the training
  text are UNKNOWN.

  Args:
    data_dir: must be empty.
    level: 'word' or 'character'.
  """
  refuse_data_dir("python_docs", data_dir)
  documents = prose()
  members = {"valid": VALID, "test": TEST, "train": [name for name in documents if name not in VALID + TEST]}

  def read(split: str) -> list[str]:
    return [sentence for name in members[split] for sentence in documents.get(name, [])]

  return text.from_lines("python_docs", level, read, SMALLEST_COUNT)


def prose() -> dict[str, list[str]]:
  """Returns the sentences of every document, by its name in alphabetical order.

  Documents contain one another: 'compound' has 'with' and 'for' in it. So a sentence belongs to the largest of its documents alone, and no
  sentence is in two splits.

  Raises:
    InputError: if this Python lacks the documents.
  """
  try:
    from pydoc_data.topics import topics  # here, because some distributions of Python leave it out
  except ImportError as e:
    raise InputError(f"The text 'python_docs' is part of Python, and this Python lacks it ({e}); give another text.") from None
  own, seen = {}, set()
  for name in sorted(topics, key=lambda name: (-len(topics[name]), name)):
    sentences = dict.fromkeys(_sentences(topics[name]))
    own[name] = [sentence for sentence in sentences if sentence not in seen]
    seen.update(sentences)
  return dict(sorted(own.items()))


def _sentences(document: str) -> Iterator[str]:
  """Yields the prepared sentences of a document that are prose of at least three words."""
  for paragraph in _PARAGRAPH_END.split(document):
    paragraph = _LABEL.sub("", paragraph, count=1)
    paragraph = " ".join(re.sub(r"(?<=\w)-\n\s*", "-", paragraph).split())
    if paragraph.startswith("**PEP") or not re.search(r"[.!?:][)\"”]*$", paragraph):
      continue  # a reference; or a heading, a signature, code or a table
    for sentence in _SENTENCE_END.split(_REFERENCE.sub("", paragraph)):
      words = _words(sentence)
      if len(words) >= 3:
        yield " ".join(words)


def _words(sentence: str) -> list[str]:
  """Returns the words of a sentence, none if it has code in it."""
  sentence = re.sub("‘([^’]*)’", r"\1", sentence).translate(_QUOTES)
  sentence = _EMPHASIS.sub(r"\1", _NAME.sub(r"\1", sentence)).replace("()", "")
  if _NOT_PROSE.search(sentence):
    return []
  sentence = re.sub(r"n't\b", " n't", re.sub(r"'(s|re|ll|ve|d)\b", r" '\1", sentence))
  words = [word.lstrip(".,-").rstrip(".,;:?!-'") for word in re.sub("[()]", "", sentence).replace("/", " ").lower().split()]
  return ["N" if re.fullmatch(r"[\d.]+", word) else word for word in words if word]
