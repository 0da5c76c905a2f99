"""A first-order DARTS search on images in plain PyTorch, edge by edge as the paper describes it.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, sections 2.3 and 3.1.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from . import blocks
from .blocks import Weights


class Problem(NamedTuple):
  """What is searched, and at what size.

  Attributes:
    operations: name of every operation of the space, and of separable convolutions the (kernel size, dilation) of each layer.
    edges: (source, target) of every edge.
    num_nodes: how many nodes a cell has behind its two inputs.
    concat: the states that a cell returns.
    reductions: positions of the reduction cells.
    cells: how many cells there are.
    channels: channels of a state before the first reduction.
    batch: images in a batch.
    image_size: their height and width.
  """

  operations: list[tuple[str, list[tuple[int, int]]]]
  edges: list[tuple[int, int]]
  num_nodes: int
  concat: list[int]
  reductions: list[int]
  cells: int
  channels: int
  batch: int
  image_size: int


class MixedOperation(nn.Module):
  """One edge: the operations of the space, weighted."""

  def __init__(self, problem: Problem, weights: Weights, edge: int, channels: int, stride: int):
    """Builds edge number `edge` of the stack of edges that leave one state, from the weights of the stack."""
    super().__init__()
    branches = []
    for name, kernels in problem.operations:
      if name.endswith("_pool_3x3"):
        branches.append(nn.Sequential(blocks.pool(name, stride), blocks.norm(channels)))
      elif name == "skip_connect":
        branches.append(nn.Identity() if stride == 1 else blocks.FactorizedReduce(weights["others"]["skip_connect"], edge))
      elif name != "none":
        layers = []
        for depth, (_, dilation) in enumerate(kernels):
          names = [other for other, others in problem.operations if depth < len(others)]
          place, stack = names.index(name), weights["layers"][depth]
          depthwise = blocks.convolution(stack["depthwise"][place][edge], stride if depth == 0 else 1, dilation, depthwise=True)
          pointwise = blocks.pointwise(np.asarray(stack["pointwise"])[edge * len(names) + place])
          layers += [nn.ReLU(), depthwise, pointwise, blocks.norm(channels)]
        branches.append(nn.Sequential(*layers))
    self.branches = nn.ModuleList(branches)
    self.columns = [column for column, (name, _) in enumerate(problem.operations) if name != "none"]

  def forward(self, x: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
    """Maps a state and the weights of the operations, [operations], to what the edge adds to its target."""
    return sum(mixture[column] * branch(x) for column, branch in zip(self.columns, self.branches, strict=True))


class Cell(nn.Module):
  """Two preprocessed inputs, four nodes that sum their edges, concatenation."""

  def __init__(self, problem: Problem, weights: Weights, channels: int, reduction: bool):
    super().__init__()
    self._problem = problem
    self.preprocess = nn.ModuleList(blocks.preprocessing(weights[name]) for name in ("preprocess0", "preprocess1"))
    self.edges = nn.ModuleList()
    for source, target in problem.edges:
      targets = [end for origin, end in problem.edges if origin == source]
      stack, stride = weights["outgoing"][source]["operations"], 2 if reduction and source < 2 else 1
      self.edges.append(MixedOperation(problem, stack, targets.index(target), channels, stride))

  def forward(self, before_previous: torch.Tensor, previous: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
    """Maps the outputs of two cells and the weights of the edges, [edges, operations], to the cell's output."""
    states = [self.preprocess[0](before_previous), self.preprocess[1](previous)]
    for node in range(2, 2 + self._problem.num_nodes):
      entering = [(row, source) for row, (source, target) in enumerate(self._problem.edges) if target == node]
      states.append(sum(self.edges[row](states[source], mixture[row]) for row, source in entering))
    return torch.cat([states[state] for state in self._problem.concat], 1)


class Supernet(nn.Module):
  """Stem, cells, global average pooling, linear classifier."""

  def __init__(self, problem: Problem, weights: Weights):
    """Builds the supernet with given weights."""
    super().__init__()
    self.problem, channels = problem, problem.channels
    stack = weights["stack"]
    self.stem = blocks.convolution(stack["stem"]["kernel"])
    self.stem_norm = blocks.norm(self.stem.out_channels, stack["stem_norm"])
    self.cells, self.types = nn.ModuleList(), []
    for index in range(problem.cells):
      reduction = index in problem.reductions
      channels *= 2 if reduction else 1
      self.cells.append(Cell(problem, stack["cells"][index], channels, reduction))
      self.types.append("reduce" if reduction else "normal")
    self.classifier = blocks.linear(weights["classifier"])

  def forward(self, images: torch.Tensor, mixture: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Maps images [B, 3, H, W] and, by cell type, weights [edges, operations] to logits [B, classes]."""
    states = [self.stem_norm(self.stem(images))] * 2
    for kind, cell in zip(self.types, self.cells, strict=True):
      states = [states[1], cell(states[0], states[1], mixture[kind])]
    return self.classifier(states[1].mean((2, 3)))


class FirstOrderSearch:
  """The optimizers of the published CIFAR-10 search around a supernet."""

  def __init__(self, supernet: Supernet, memory: torch.memory_format):
    """`memory` says how images and kernels lie in memory."""
    self._format = memory
    self._supernet = supernet.to(memory_format=self._format)
    shape = len(supernet.problem.edges), len(supernet.problem.operations)
    self._arch = {cell: (1e-3 * torch.randn(shape)).requires_grad_() for cell in ("normal", "reduce")}
    self._weight_optimizer = torch.optim.SGD(supernet.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
    self._arch_optimizer = torch.optim.Adam(self._arch.values(), 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)

  def step(self, train: tuple[torch.Tensor, torch.Tensor], valid: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Takes a step of the architecture and one of the weights, and returns the training loss; batches are images and labels."""
    self._backward(valid, list(self._arch.values()))  # the architecture's gradient alone
    self._arch_optimizer.step()
    self._arch_optimizer.zero_grad()
    parameters = list(self._supernet.parameters())
    loss = self._backward(train, parameters)
    nn.utils.clip_grad_norm_(parameters, 5.0)
    self._weight_optimizer.step()
    self._weight_optimizer.zero_grad()
    return float(loss)

  def _backward(self, batch: tuple[torch.Tensor, torch.Tensor], inputs: list[torch.Tensor]) -> torch.Tensor:
    images, labels = batch
    mixture = {cell: torch.softmax(parameters, -1) for cell, parameters in self._arch.items()}
    loss = nn.functional.cross_entropy(self._supernet(images.contiguous(memory_format=self._format), mixture), labels)
    loss.backward(inputs=inputs)
    return loss.detach()


def steps(arrays: dict[str, np.ndarray]) -> dict[str, Callable[[], object]]:
  """Returns a first-order search step in both memory formats."""
  about, weights = blocks.problem_of(arrays)
  problem = Problem(**about)
  batches = [blocks.random_images(problem.batch, problem.image_size, len(weights["classifier"]["bias"])) for _ in range(2)]

  def step(memory: torch.memory_format) -> Callable[[], object]:
    search = FirstOrderSearch(Supernet(problem, weights), memory)
    return lambda: search.step(*batches)

  return {name: step(memory) for name, memory in blocks.FORMATS.items()}
