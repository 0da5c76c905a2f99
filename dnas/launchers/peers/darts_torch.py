"""A first-order DARTS search on images in plain PyTorch, edge by edge as the paper describes it: the peer of `benchmarks.speed`.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, sections 2.3 and 3.1. It takes the weights of our supernet, so that both can be
tested to compute the same logits. It is a script for any Python from 3.10 on that has PyTorch and NumPy, and imports nothing else:
`process.running` runs it.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

Weights = Mapping[str, Any]
"""The weights of `supernet.image_supernet.ImageSupernet` on the darts_conv space, nested as they are there; lists are keyed by number."""


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


def problem_of(arrays: Mapping[str, np.ndarray]) -> tuple[Problem, Weights]:
  """Returns what `process.search_problem` put into arrays."""
  weights: dict[str, Any] = {}
  for path in arrays:
    if path != "about":
      *nodes, leaf = (int(node) if node.isdigit() else node for node in path.split("/"))
      place = weights
      for node in nodes:
        place = place.setdefault(node, {})
      place[leaf] = arrays[path]
  return Problem(**json.loads(str(arrays["about"]))), weights


def _convolution(kernel: Any, stride: int = 1, dilation: int = 1, depthwise: bool = False) -> nn.Conv2d:
  """Returns a convolution without bias, padded to 'same', of a kernel [k, k', C, D], or [k, k', C] if it is depthwise."""
  kernel = np.asarray(kernel)
  weight = kernel[..., None].transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)
  channels, padding = kernel.shape[2], dilation * (kernel.shape[0] // 2)
  groups = channels if depthwise else 1
  layer = nn.Conv2d(channels, weight.shape[0], kernel.shape[:2], stride, padding, dilation, groups, bias=False)
  layer.weight.data = torch.tensor(weight)
  return layer


def _norm(channels: int) -> nn.BatchNorm2d:
  return nn.BatchNorm2d(channels, affine=False)


class FactorizedReduce(nn.Module):
  """Halves height and width by two 1x1 convolutions, one of them a pixel off."""

  def __init__(self, even: Any, odd: Any):
    super().__init__()
    self.even, self.odd = (_convolution(np.asarray(kernel)[None, None], stride=2) for kernel in (even, odd))
    self.norm = _norm(even.shape[1] + odd.shape[1])

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps [B, C, H, W], of even sizes, to half the height and width."""
    x = torch.relu(x)
    return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))


class MixedOperation(nn.Module):
  """One edge: the operations of the space, weighted."""

  def __init__(self, problem: Problem, weights: Weights, edge: int, channels: int, stride: int):
    """Builds edge number `edge` of the stack of edges that leave one state, from the weights of the stack."""
    super().__init__()
    branches = []
    for name, kernels in problem.operations:
      if name == "max_pool_3x3":
        branches.append(nn.Sequential(nn.MaxPool2d(3, stride, 1), _norm(channels)))
      elif name == "avg_pool_3x3":
        branches.append(nn.Sequential(nn.AvgPool2d(3, stride, 1, count_include_pad=False), _norm(channels)))
      elif name == "skip_connect":
        skip = weights["others"]["skip_connect"] if stride == 2 else None
        branches.append(nn.Identity() if skip is None else FactorizedReduce(skip["even"][edge], skip["odd"][edge]))
      elif name != "none":
        layers = []
        for depth, (_, dilation) in enumerate(kernels):
          names = [other for other, others in problem.operations if depth < len(others)]
          place, stack = names.index(name), weights["layers"][depth]
          depthwise = _convolution(stack["depthwise"][place][edge], stride if depth == 0 else 1, dilation, depthwise=True)
          pointwise = _convolution(np.asarray(stack["pointwise"])[None, None, edge * len(names) + place])
          layers += [nn.ReLU(), depthwise, pointwise, _norm(channels)]
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
    self.preprocess = nn.ModuleList()
    for name in ("preprocess0", "preprocess1"):
      block = weights[name]
      if "even" in block:
        self.preprocess.append(FactorizedReduce(block["even"][0], block["odd"][0]))
      else:
        kernel = np.asarray(block["kernel"])[None]
        self.preprocess.append(nn.Sequential(nn.ReLU(), _convolution(kernel), _norm(channels)))
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
    stack, classifier = weights["stack"], weights["classifier"]
    self.stem = _convolution(stack["stem"]["kernel"])
    self.stem_norm = nn.BatchNorm2d(self.stem.out_channels)
    self.cells, self.types = nn.ModuleList(), []
    for index in range(problem.cells):
      reduction = index in problem.reductions
      channels *= 2 if reduction else 1
      self.cells.append(Cell(problem, stack["cells"][index], channels, reduction))
      self.types.append("reduce" if reduction else "normal")
    kernel = torch.tensor(np.asarray(classifier["kernel"]).T)
    self.classifier = nn.Linear(kernel.shape[1], kernel.shape[0])
    self.classifier.weight.data, self.classifier.bias.data = kernel, torch.tensor(np.asarray(classifier["bias"]))

  def forward(self, images: torch.Tensor, mixture: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Maps images [B, 3, H, W] and, by cell type, weights [edges, operations] to logits [B, classes]."""
    states = [self.stem_norm(self.stem(images))] * 2
    for kind, cell in zip(self.types, self.cells, strict=True):
      states = [states[1], cell(states[0], states[1], mixture[kind])]
    return self.classifier(states[1].mean((2, 3)))


class FirstOrderSearch:
  """The optimizers of the published CIFAR-10 search around a supernet."""

  def __init__(self, supernet: Supernet, channels_last: bool):
    """`channels_last` says how images and kernels lie in memory."""
    self._format = torch.channels_last if channels_last else torch.contiguous_format
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


def main(path: str) -> None:
  """Answers lines 'step' with the seconds of a step, channels first and channels last, in JSON; before them a line tells the versions."""
  answers = os.fdopen(os.dup(1), "w", buffering=1)
  os.dup2(2, 1)  # whatever else is printed is no answer
  with np.load(path) as arrays:
    problem, weights = problem_of(dict(arrays))

  def batch() -> tuple[torch.Tensor, torch.Tensor]:
    classes = len(weights["classifier"]["bias"])
    return torch.randn(problem.batch, 3, problem.image_size, problem.image_size), torch.randint(0, classes, (problem.batch,))

  searches = [FirstOrderSearch(Supernet(problem, weights), channels_last) for channels_last in (False, True)]
  batches = batch(), batch()
  about = {"python": platform.python_version(), "torch": torch.__version__, "threads": torch.get_num_threads()}
  print(json.dumps(about), file=answers)
  for line in sys.stdin:
    if line.strip() == "step":
      seconds = []
      for search in searches:
        began = time.perf_counter()
        search.step(*batches)
        seconds.append(time.perf_counter() - began)
      print(json.dumps(seconds), file=answers)


if __name__ == "__main__":
  main(sys.argv[1])
