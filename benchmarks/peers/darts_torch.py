"""A first-order DARTS search on images in plain PyTorch, edge by edge as the paper describes it: the peer of `benchmarks.speed`.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, sections 2.3 and 3.1. It takes the weights of our supernet, so that both can be
tested to compute the same logits. PyTorch is no dependency of the project: `pip install torch`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from dnas.cells import darts_conv
from dnas.cells.image_stack import reduction_indices
from dnas.cells.operations import OPERATIONS, Separable
from dnas.core.space import NONE

SPACE = darts_conv.SPACE
Weights = Mapping[str, Any]
"""The weights of `supernet.image_supernet.ImageSupernet` on the darts_conv space, as `cells.functional.split` returns them."""


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

  def __init__(self, weights: Weights, edge: int, channels: int, stride: int):
    """Builds edge number `edge` of the stack of edges that leave one state, from the weights of the stack."""
    super().__init__()
    separable = [name for name in SPACE.operations if isinstance(OPERATIONS[name], Separable)]
    branches = []
    for name in SPACE.operations:
      if name == "max_pool_3x3":
        branches.append(nn.Sequential(nn.MaxPool2d(3, stride, 1), _norm(channels)))
      elif name == "avg_pool_3x3":
        branches.append(nn.Sequential(nn.AvgPool2d(3, stride, 1, count_include_pad=False), _norm(channels)))
      elif name == "skip_connect":
        skip = weights["others"]["skip_connect"] if stride == 2 else None
        branches.append(nn.Identity() if skip is None else FactorizedReduce(skip["even"][edge], skip["odd"][edge]))
      elif name != NONE:
        layers = []
        for depth, (_, dilation) in enumerate(OPERATIONS[name].layers):
          names = [other for other in separable if depth < len(OPERATIONS[other].layers)]
          place, stack = names.index(name), weights["layers"][depth]
          depthwise = _convolution(stack["depthwise"][place][edge], stride if depth == 0 else 1, dilation, depthwise=True)
          pointwise = _convolution(np.asarray(stack["pointwise"])[None, None, edge * len(names) + place])
          layers += [nn.ReLU(), depthwise, pointwise, _norm(channels)]
        branches.append(nn.Sequential(*layers))
    self.branches = nn.ModuleList(branches)
    self.columns = [column for column, name in enumerate(SPACE.operations) if name != NONE]

  def forward(self, x: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
    """Maps a state and the weights of the operations, [operations], to what the edge adds to its target."""
    return sum(mixture[column] * branch(x) for column, branch in zip(self.columns, self.branches, strict=True))


class Cell(nn.Module):
  """Two preprocessed inputs, four nodes that sum their edges, concatenation."""

  def __init__(self, weights: Weights, channels: int, reduction: bool):
    super().__init__()
    self.preprocess = nn.ModuleList()
    for name in ("preprocess0", "preprocess1"):
      block = weights[name]
      if "even" in block:
        self.preprocess.append(FactorizedReduce(block["even"][0], block["odd"][0]))
      else:
        kernel = np.asarray(block["kernel"])[None]
        self.preprocess.append(nn.Sequential(nn.ReLU(), _convolution(kernel), _norm(channels)))
    self.edges = nn.ModuleList()
    for source, target in SPACE.edges:
      targets = [end for origin, end in SPACE.edges if origin == source]
      stack, stride = weights["outgoing"][source]["operations"], 2 if reduction and source < 2 else 1
      self.edges.append(MixedOperation(stack, targets.index(target), channels, stride))

  def forward(self, before_previous: torch.Tensor, previous: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
    """Maps the outputs of two cells and the weights of the edges, [edges, operations], to the cell's output."""
    states = [self.preprocess[0](before_previous), self.preprocess[1](previous)]
    for node in range(2, 2 + SPACE.num_nodes):
      rows = [row for row, (_, target) in enumerate(SPACE.edges) if target == node]
      states.append(sum(self.edges[row](states[SPACE.edges[row][0]], mixture[row]) for row in rows))
    return torch.cat([states[state] for state in SPACE.concat], 1)


class Supernet(nn.Module):
  """Stem, cells, global average pooling, linear classifier."""

  def __init__(self, weights: Weights, channels: int, cells: int):
    """Builds the supernet with given weights; `channels` and `cells` are those of `image_supernet.Config`."""
    super().__init__()
    stack, classifier = weights["stack"], weights["classifier"]
    self.stem = _convolution(stack["stem"]["kernel"])
    self.stem_norm = nn.BatchNorm2d(self.stem.out_channels)
    self.cells, self.types = nn.ModuleList(), []
    for index in range(cells):
      reduction = index in reduction_indices(cells)
      channels *= 2 if reduction else 1
      self.cells.append(Cell(stack["cells"][index], channels, reduction))
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
    self._arch = {cell: (1e-3 * torch.randn(SPACE.arch_shape())).requires_grad_() for cell in SPACE.cells}
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
