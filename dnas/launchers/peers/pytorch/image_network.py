"""The image network of a genotype in plain PyTorch, its training by the published recipe, and its evaluation.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, section 3.2.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from . import blocks
from .blocks import Weights

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images [B, 3, H, W] and labels [B]."""

DROP_PATH = 0.1
"""Probability that an edge is dropped: that of the middle of the published training."""


class Separable(nn.Sequential):
  """Layers of ReLU, depthwise convolution, pointwise convolution and batch normalization."""

  def __init__(self, layers: list[tuple[int, int]], weights: Weights, edge: int, stride: int):
    modules: list[nn.Module] = []
    for depth, (_, dilation) in enumerate(layers):
      stack = weights["layers"][depth]
      kernel, channels = np.asarray(stack["depthwise"][0])[edge], np.asarray(stack["pointwise"])[edge]
      depthwise = blocks.convolution(kernel, stride if depth == 0 else 1, dilation, depthwise=True)
      modules += [nn.ReLU(), depthwise, blocks.pointwise(channels), blocks.norm(channels.shape[1], stack.get("norm"), edge)]
    super().__init__(*modules)


class Cell(nn.Module):
  """A discrete cell: two preprocessed inputs, two edges into every node, concatenation."""

  def __init__(self, about: Mapping[str, Any], weights: Weights, kind: str, reduction: bool):
    super().__init__()
    self._nodes, self._concat = about["genotype"][kind]
    self.preprocess = nn.ModuleList(blocks.preprocessing(weights[name]) for name in ("preprocess0", "preprocess1"))
    seen: dict[tuple[str, int], int] = {}
    self.edges, self._dropped = nn.ModuleList(), []
    for node in self._nodes:
      for name, source in node:
        edge, stride = seen.get((name, source), 0), 2 if reduction and source < 2 else 1
        seen[name, source] = edge + 1
        own = weights.get("outgoing", {}).get(source, {}).get("operations", {}).get(name, {})
        self.edges.append(self._edge(name, about["operations"][name], own, edge, stride))
        self._dropped.append(not isinstance(self.edges[-1], nn.Identity))

  @staticmethod
  def _edge(name: str, layers: list[tuple[int, int]], weights: Weights, edge: int, stride: int) -> nn.Module:
    if layers:
      return Separable(layers, weights, edge, stride)
    if name == "skip_connect":
      return nn.Identity() if stride == 1 else blocks.FactorizedReduce(weights["others"]["skip_connect"], edge)
    return blocks.pool(name, stride)

  def forward(self, before_previous: torch.Tensor, previous: torch.Tensor, drop_path: float) -> torch.Tensor:
    """Maps the outputs of two cells to the cell's output."""
    states = [self.preprocess[0](before_previous), self.preprocess[1](previous)]
    edges = iter(zip(self.edges, self._dropped, strict=True))
    for node in self._nodes:
      outputs = []
      for (_, source), (edge, dropped) in zip(node, edges, strict=False):
        output = edge(states[source])
        if drop_path and dropped:
          keep = torch.empty(len(output), 1, 1, 1).bernoulli_(1 - drop_path)
          output = output * keep / (1 - drop_path)
        outputs.append(output)
      states.append(sum(outputs))
    return torch.cat([states[state] for state in self._concat], 1)


class AuxiliaryHead(nn.Module):
  """The second classifier."""

  def __init__(self, weights: Weights):
    super().__init__()
    layers: list[nn.Module] = [nn.ReLU(), nn.AvgPool2d(5, 3)]
    for number in (1, 2):
      kernel = np.asarray(weights[f"conv{number}"]["kernel"])
      layers += [blocks.convolution(kernel, padding=0), blocks.norm(kernel.shape[3], weights[f"norm{number}"]), nn.ReLU()]
    self.features, self.classifier = nn.Sequential(*layers), blocks.linear(weights["classifier"])

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps [B, C, 8, 8] to logits."""
    return self.classifier(self.features(x).mean((2, 3)))


class Network(nn.Module):
  """Stem, cells, global average pooling, linear classifier, auxiliary head."""

  def __init__(self, about: Mapping[str, Any], weights: Weights):
    """Builds the network with given weights."""
    super().__init__()
    stack, reductions = weights["stack"], about["reductions"]
    self.stem = blocks.convolution(stack["stem"]["kernel"])
    self.stem_norm = blocks.norm(self.stem.out_channels, stack["stem_norm"])
    kinds = ["reduce" if index in reductions else "normal" for index in range(about["cells"])]
    self.cells = nn.ModuleList(Cell(about, stack["cells"][index], kind, kind == "reduce") for index, kind in enumerate(kinds))
    self.classifier, self._auxiliary_cell = blocks.linear(weights["classifier"]), reductions[1]
    self.auxiliary = AuxiliaryHead(weights["auxiliary"]) if "auxiliary" in weights else None

  def forward(self, images: torch.Tensor, drop_path: float = 0.0) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Maps images [B, 3, H, W] to logits, and to those of the auxiliary head in training."""
    states, side = [self.stem_norm(self.stem(images))] * 2, None
    for index, cell in enumerate(self.cells):
      states = [states[1], cell(states[0], states[1], drop_path)]
      if index == self._auxiliary_cell and self.auxiliary is not None and self.training:
        side = self.auxiliary(states[1])
    return self.classifier(states[1].mean((2, 3))), side


def train_step(network: Network, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
  """Takes a step of the published recipe, and returns the loss of the main head."""
  logits, side = network(batch[0], DROP_PATH)
  main = loss = nn.functional.cross_entropy(logits, batch[1])
  if side is not None:
    loss = loss + 0.4 * nn.functional.cross_entropy(side, batch[1])
  loss.backward()
  nn.utils.clip_grad_norm_(network.parameters(), 5.0)
  optimizer.step()
  optimizer.zero_grad()
  return float(main.detach())


def evaluate(network: Network, batch: Batch) -> tuple[float, float]:
  """Returns the loss and the number of right images."""
  with torch.no_grad():
    logits = network(batch[0])[0]
    return float(nn.functional.cross_entropy(logits, batch[1])), float((logits.argmax(1) == batch[1]).sum())


def _in_formats(
  arrays: dict[str, np.ndarray], step_of: Callable[[Network, Batch], Callable[[], object]]
) -> dict[str, Callable[[], object]]:
  """Returns `step_of` of the network and a random batch in both memory formats."""
  about, weights = blocks.problem_of(arrays)
  images, labels = blocks.random_images(about["batch"], about["image_size"], 10)
  return {
    name: step_of(Network(about, weights).to(memory_format=memory), (images.contiguous(memory_format=memory), labels))
    for name, memory in blocks.FORMATS.items()
  }


def training_steps(arrays: dict[str, np.ndarray]) -> dict[str, Callable[[], object]]:
  """Returns a training step in both memory formats."""

  def step_of(network: Network, batch: Batch) -> Callable[[], object]:
    optimizer = torch.optim.SGD(network.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
    return lambda: train_step(network, optimizer, batch)

  return _in_formats(arrays, step_of)


def evaluation_steps(arrays: dict[str, np.ndarray]) -> dict[str, Callable[[], object]]:
  """Returns the evaluation of one batch in both memory formats."""

  def step_of(network: Network, batch: Batch) -> Callable[[], object]:
    network.eval()
    return lambda: evaluate(network, batch)

  return _in_formats(arrays, step_of)
