"""The language model of DARTS in plain PyTorch: its search, the training of a genotype, and evaluation.

Sources: Liu, Simonyan and Yang, "DARTS", ICLR 2019, sections 2.1, A.1.2 and A.2.2; Merity, Keskar and Socher, "Regularizing and Optimizing
LSTM Language Models", ICLR 2018. The time loop is in Python, and a node's product is one for all edges into it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from .blocks import Weights, problem_of

ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
  "tanh": torch.tanh,
  "relu": torch.relu,
  "sigmoid": torch.sigmoid,
  "identity": lambda x: x,
}


class Masks(NamedTuple):
  """Factors of dropout: of words [V, 1], features of the embedding [1, B, H], inputs and states [B, H], and outputs [1, B, H]."""

  words: torch.Tensor
  embedding: torch.Tensor
  inputs: torch.Tensor
  hidden: torch.Tensor
  output: torch.Tensor


class LanguageModel(nn.Module):
  """Embedding, cell, tied decoder."""

  def __init__(self, about: Mapping[str, Any], weights: Weights):
    """Builds the model with given weights. 'genotype' is a list of (activation, source) of every node, or None for the supernet."""
    super().__init__()
    self.about, cell = about, weights["cell"]
    self.embedding, self.bias, self.initial = (
      nn.Parameter(torch.tensor(np.asarray(array))) for array in (weights["embedding"], weights["bias"], cell["initial"])
    )
    # One parameter a node, as in the published code: the gradient of a slice would fill all of a stack with zeros at every use.
    self.nodes = nn.ParameterList(nn.Parameter(torch.tensor(array)) for array in np.asarray(cell["nodes"]))

  def forward(
    self, tokens: torch.Tensor, hidden: torch.Tensor, mixture: torch.Tensor | None = None, masks: Masks | None = None
  ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Maps words [T, B] and a state [B, H] to logits [T, B, V], the last state, and the outputs before and after dropout."""
    table = self.embedding if masks is None else self.embedding * masks.words
    words = nn.functional.embedding(tokens, table)
    if masks is not None:
      words = words * masks.embedding * masks.inputs
    outputs = []
    for x in words:
      hidden = self._step(x, hidden, mixture, None if masks is None else masks.hidden)
      outputs.append(hidden)
    outputs = torch.stack(outputs)
    dropped = outputs if masks is None else outputs * masks.output
    return nn.functional.linear(dropped, self.embedding, self.bias), hidden, outputs, dropped

  def _step(self, x: torch.Tensor, hidden: torch.Tensor, mixture: torch.Tensor | None, mask: torch.Tensor | None) -> torch.Tensor:
    masked = hidden if mask is None else hidden * mask
    gate, candidate = (torch.cat([x, masked], -1) @ self.initial).chunk(2, -1)
    states = [self._normalized(hidden + torch.sigmoid(gate) * (torch.tanh(candidate) - hidden))]
    edge = 0
    for node in range(len(self.nodes)):
      if mixture is None:
        name, source = self.about["genotype"][node]
        state = states[source]
        gate, candidate = ((state if mask is None else state * mask) @ self.nodes[node]).chunk(2, -1)
        states.append(state + torch.sigmoid(gate) * (ACTIVATIONS[name](candidate) - state))
        continue
      stack = torch.stack(states)
      gate, candidate = ((stack if mask is None else stack * mask) @ self.nodes[node]).chunk(2, -1)
      gate, total = torch.sigmoid(gate), 0
      for column, name in enumerate(self.about["operations"]):
        if name != "none":
          weight = mixture[edge : edge + len(states), column, None, None]
          total = total + (weight * (stack + gate * (ACTIVATIONS[name](candidate) - stack))).sum(0)
      edge += len(states)
      states.append(self._normalized(total))
    return torch.stack([states[state] for state in self.about["concat"]]).mean(0)

  def _normalized(self, x: torch.Tensor) -> torch.Tensor:
    if self.about["genotype"] is not None:
      return x
    return nn.functional.batch_norm(x, None, None, training=True)

  def masks(self, batch: int) -> Masks:
    """Draws the masks of a window."""
    rates, units = self.about["dropout"], self.embedding.shape[1]
    shapes = {"words": (len(self.embedding), 1), "embedding": (1, batch, units), "inputs": (batch, units), "hidden": (batch, units)}
    shapes["output"] = (1, batch, units)
    return Masks(*(torch.empty(shape).bernoulli_(1 - rates[name]) / (1 - rates[name]) for name, shape in shapes.items()))

  def loss(self, window: torch.Tensor, hidden: torch.Tensor, mixture: torch.Tensor | None, drops: bool, penalized: bool) -> Any:
    """Returns the loss of a window [T + 1, B] and the last state, detached."""
    masks = self.masks(window.shape[1]) if drops else None
    logits, hidden, outputs, dropped = self(window[:-1], hidden, mixture, masks)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), window[1:].flatten())
    if penalized:
      activation, temporal = self.about["penalties"]
      loss = loss + activation * dropped.square().mean() if activation else loss
      loss = loss + temporal * (outputs[1:] - outputs[:-1]).square().mean()
    return loss, hidden.detach()


def _model(arrays: dict[str, np.ndarray]) -> tuple[LanguageModel, torch.Tensor, torch.Tensor]:
  about, weights = problem_of(arrays)
  model = LanguageModel(about, weights)
  window = torch.randint(0, len(model.embedding), (about["words"] + 1, about["batch"]))
  return model, window, torch.zeros(about["batch"], model.embedding.shape[1])


def _descend(model: LanguageModel, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> float:
  loss.backward(inputs=list(model.parameters()))
  nn.utils.clip_grad_norm_(model.parameters(), 0.25)
  optimizer.step()
  optimizer.zero_grad()
  return float(loss.detach())


def search_steps(arrays: dict[str, np.ndarray]) -> dict[str, Callable[[], object]]:
  """Returns a first-order search step: one of the architecture, one of the weights."""
  model, window, hidden = _model(arrays)
  edges = len(model.nodes) * (len(model.nodes) + 1) // 2
  arch = (1e-3 * torch.randn(edges, len(model.about["operations"]))).requires_grad_()
  weight_optimizer = torch.optim.SGD(model.parameters(), 20.0, weight_decay=5e-7)
  arch_optimizer = torch.optim.Adam([arch], 3e-3, weight_decay=1e-3)
  states = {"train": hidden, "valid": hidden}

  def step() -> float:
    loss, states["valid"] = model.loss(window, states["valid"], torch.softmax(arch, -1), drops=True, penalized=False)
    loss.backward(inputs=[arch])
    arch_optimizer.step()
    arch_optimizer.zero_grad()
    loss, states["train"] = model.loss(window, states["train"], torch.softmax(arch, -1).detach(), drops=True, penalized=True)
    return _descend(model, weight_optimizer, loss)

  return {"time loop": step}


def training_steps(arrays: dict[str, np.ndarray]) -> dict[str, Callable[[], object]]:
  """Returns a step of the training of a genotype."""
  model, window, hidden = _model(arrays)
  optimizer, states = torch.optim.SGD(model.parameters(), 20.0, weight_decay=8e-7), {"train": hidden}

  def step() -> float:
    loss, states["train"] = model.loss(window, states["train"], None, drops=True, penalized=True)
    return _descend(model, optimizer, loss)

  return {"time loop": step}


def evaluation_steps(arrays: dict[str, np.ndarray]) -> dict[str, Callable[[], object]]:
  """Returns the evaluation of one window."""
  model, window, hidden = _model(arrays)

  def step() -> float:
    with torch.no_grad():
      return float(model.loss(window, hidden, None, drops=False, penalized=False)[0])

  return {"time loop": step}
