"""A trained language model: perplexity of texts, probabilities of the next token, generation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from dnas.cells import functional
from dnas.core import keys
from dnas.core.errors import InputError, counted, shown
from dnas.data.text import END, Config, Vocabulary, tokens_of
from dnas.nets.models.base import LanguageNetwork
from dnas.train.language import Evaluate

Tree = Any


class TextModel:
  """A trained language model with its vocabulary.

  A text is cut into words, or characters, as the texts that trained the model: every line ends with the token '<eos>'. A word that the
  vocabulary lacks counts as '<unk>', and a warning says how many there are. If the vocabulary has no '<unk>', such a word is an error.

  >>> model = dnas.load_run("runs/first_text_retrained")  # doctest: +SKIP
  >>> model.perplexity("the result is a list")["perplexity"]  # doctest: +SKIP
  >>> model.generate("the result", 20, temperature=0.8)  # doctest: +SKIP

  Attributes:
    network: the static part of the network.
    variables: its weights.
    vocabulary: its words; position is id.
    level: what a token is, 'word' or 'character'.
    initial_hidden: maps a batch size to the hidden states before a text.
  """

  def __init__(self, module: LanguageNetwork, variables: functional.Variables, vocabulary: Vocabulary, config: Config):
    """Puts the parts together; nothing is compiled yet. The text configuration of the training gives the level and the window length."""
    self.network, _ = functional.split(module)  # pyright: ignore[reportArgumentType]  # an nnx module, by the protocol
    self.variables, self.vocabulary, self.level = variables, vocabulary, config.level
    self.initial_hidden, self._window = module.initial_hidden, config.sequence_length
    self._evaluate = Evaluate(lambda variables, *rest: self.forward(variables, *rest), self.initial_hidden, config)
    self._read = jax.jit(self._last)
    self._draw = jax.jit(self._drawn)

  def forward(self, variables: functional.Variables, tokens: jax.Array, hidden: Tree) -> tuple[jax.Array, Tree]:
    """Maps tokens, int32 [T, B], to the logits of the next tokens, [T, B, V], and the hidden states after the tokens. Pure function."""
    (logits, hidden, _), _ = functional.apply(self.network, variables, tokens, hidden, np.int32(len(tokens)))
    return logits, hidden

  def encode(self, text: str) -> np.ndarray:
    """Returns the ids of a text, int32 [N].

    Raises:
      InputError: for anything but text, an empty text, or a word that the vocabulary lacks where it has no '<unk>' either.
    """
    if not isinstance(text, str):
      raise InputError(f"the text is {shown(text)}; give a text in quotes.")
    tokens = list(tokens_of(text.splitlines(), self.level))
    if len(tokens) < 2:
      raise InputError(f"the text {shown(text)} has no {self.level}; give at least one.")
    ids, unknown = self.vocabulary.encode(tokens)
    if unknown:
      told = counted(unknown, f"{self.level} is", f"{self.level}s are")
      logging.warning("%s not in the vocabulary; '<unk>' stands there.", told)
    return ids

  def measure(self, ids: np.ndarray, columns: int) -> dict[str, float]:
    """Returns loss (nats per token) and perplexity of a text, int32 [N], cut into at most `columns` columns, as in a training."""
    return self._evaluate(self.variables, self._evaluate.columns(ids, columns))

  def perplexity(self, text: str) -> dict[str, float]:
    """Returns 'loss' (nats per token) and 'perplexity' of a text, read from its start. Every token but the first is predicted once.

    Raises:
      InputError: as `encode` does.
    """
    return self.measure(self.encode(text), 1)

  def predict_text(self, text: str) -> np.ndarray:
    """Returns the probabilities of the token that follows a text, float32 [V], in the order of `vocabulary.words`.

    Raises:
      InputError: as `encode` does.
    """
    return np.asarray(jax.nn.softmax(self._after(self._begun(text))[0]))

  def generate(self, prompt: str, length: int, temperature: float = 1.0, key: jax.Array | int = 0) -> str:
    """Returns the text that the model writes after a prompt: words with spaces between them, or characters, and a new line for '<eos>'.

    Args:
      prompt: the beginning of the text. The model goes on in its last line, or, after a new line at its end, in the next one.
      length: number of tokens to write.
      temperature: divides the logits before a token is drawn; 0 always takes the most probable one.
      key: a typed random key, or a seed.

    Raises:
      InputError: as `encode` does, and for a length, temperature or key that cannot be.
    """
    if not isinstance(length, int) or isinstance(length, bool) or not 1 <= length <= 10**6:
      raise InputError(f"length is {shown(length)}; it must be a whole number of tokens, 1 to 1,000,000.")
    if not isinstance(temperature, int | float) or isinstance(temperature, bool) or not 0 <= temperature < 1e6:
      raise InputError(f"temperature is {shown(temperature)}; it must be zero or more, and below 1,000,000.")
    if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < 2**32:
      key = jax.random.key(key)
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
      raise InputError(f"key is {shown(key)}; give a seed, or a typed random key from jax.random.key.")
    logits, hidden = self._after(self._begun(prompt))
    key, written = keys.derive(key, "generate"), []
    for number in range(length):
      token, logits, hidden = self._draw(self.variables, logits, hidden, keys.derive(key, number), np.float32(temperature))
      written.append(token)
    return self._written(self.vocabulary.decode(np.asarray(jax.device_get(written))[:, 0].tolist()))

  def _begun(self, text: str) -> np.ndarray:
    """Returns the ids of a text that goes on. Its last line has no '<eos>', unless the text ends with a new line."""
    ids = self.encode(text)
    return ids if text.endswith("\n") else ids[:-1]

  def _written(self, tokens: list[str]) -> str:
    lines, between = [[]], " " if self.level == "word" else ""
    for token in tokens:
      if token == END:
        lines.append([])
      else:
        lines[-1].append(token)
    return "\n".join(between.join(line) for line in lines)

  def _after(self, ids: np.ndarray) -> tuple[jax.Array, Tree]:
    """Returns the logits of the token after the ids, [V], and the hidden states there. One program reads all windows."""
    hidden, logits = self.initial_hidden(1), None
    for start in range(0, len(ids), self._window):
      part = ids[start : start + self._window]
      window = np.zeros((self._window, 1), np.int32)
      window[: len(part), 0] = part
      logits, hidden = self._read(self.variables, window, hidden, np.int32(len(part)))
    assert logits is not None  # there is at least one id
    return logits, hidden

  def _last(self, variables: functional.Variables, tokens: jax.Array, hidden: Tree, length: jax.Array) -> tuple[jax.Array, Tree]:
    (logits, hidden, _), _ = functional.apply(self.network, variables, tokens, hidden, length)
    return jax.lax.dynamic_index_in_dim(logits[:, 0], length - 1, keepdims=False), hidden

  def _drawn(
    self, variables: functional.Variables, logits: jax.Array, hidden: Tree, key: jax.Array, temperature: jax.Array
  ) -> tuple[jax.Array, jax.Array, Tree]:
    """Returns the next token [1], the logits after it [V], and the hidden states."""
    scaled = logits / jnp.where(temperature > 0, temperature, 1.0)
    token = jnp.where(temperature > 0, jax.random.categorical(key, scaled), logits.argmax(-1)).astype(jnp.int32)[None]
    return token, *self._last(variables, token[None], hidden, jnp.int32(1))
