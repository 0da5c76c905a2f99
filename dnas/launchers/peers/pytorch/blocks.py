"""What the networks share: weights by their paths, convolutions, normalizations."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

Weights = Mapping[str, Any]
"""The weights of a network of dnas, nested as they are there; lists are keyed by number."""

FORMATS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
"""How images and kernels lie in memory."""


def problem_of(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], Weights]:
  """Returns what `process.problem` put into arrays: the description and the weights."""
  weights: dict[str, Any] = {}
  for path in arrays:
    if path != "about":
      *nodes, leaf = (int(node) if node.isdigit() else node for node in path.split("/"))
      place = weights
      for node in nodes:
        place = place.setdefault(node, {})
      place[leaf] = arrays[path]
  return json.loads(str(arrays["about"])), weights


def convolution(kernel: Any, stride: int = 1, dilation: int = 1, depthwise: bool = False, padding: int | None = None) -> nn.Conv2d:
  """Returns a convolution without bias of a kernel [k, k', C, D], or [k, k', C] if it is depthwise; by default padded to 'same'."""
  kernel = np.asarray(kernel)
  weight = kernel[..., None].transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)
  channels, padding = kernel.shape[2], dilation * (kernel.shape[0] // 2) if padding is None else padding
  groups = channels if depthwise else 1
  layer = nn.Conv2d(channels, weight.shape[0], kernel.shape[:2], stride, padding, dilation, groups, bias=False)
  layer.weight.data = torch.tensor(weight)
  return layer


def pointwise(kernel: Any, stride: int = 1) -> nn.Conv2d:
  """Returns a 1x1 convolution of a kernel [C, D]."""
  return convolution(np.asarray(kernel)[None, None], stride)


def norm(channels: int, weights: Weights | None = None, index: int = 0) -> nn.BatchNorm2d:
  """Returns a batch normalization, with scale and bias if `weights` has them; `index` is the edge in the stack."""
  layer = nn.BatchNorm2d(channels, affine=bool(weights))
  if weights:
    layer.weight.data, layer.bias.data = (torch.tensor(np.asarray(weights[name])[index]) for name in ("scale", "bias"))
  return layer


class FactorizedReduce(nn.Module):
  """Halves height and width by two 1x1 convolutions, one of them a pixel off."""

  def __init__(self, weights: Weights, edge: int = 0):
    super().__init__()
    even, odd = np.asarray(weights["even"])[edge], np.asarray(weights["odd"])[edge]
    self.even, self.odd = pointwise(even, stride=2), pointwise(odd, stride=2)
    self.norm = norm(even.shape[1] + odd.shape[1], weights.get("norm"), edge)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps [B, C, H, W], of even sizes, to half the height and width."""
    x = torch.relu(x)
    return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))


def preprocessing(weights: Weights) -> nn.Module:
  """Returns the block that maps an input of a cell to the cell's channels."""
  if "even" in weights:
    return FactorizedReduce(weights)
  kernel = np.asarray(weights["kernel"])[0]
  return nn.Sequential(nn.ReLU(), pointwise(kernel), norm(kernel.shape[1], weights.get("norm")))


def pool(name: str, stride: int) -> nn.Module:
  """Returns max_pool_3x3 or avg_pool_3x3."""
  return nn.MaxPool2d(3, stride, 1) if name == "max_pool_3x3" else nn.AvgPool2d(3, stride, 1, count_include_pad=False)


def linear(weights: Weights) -> nn.Linear:
  """Returns an affine map."""
  kernel = torch.tensor(np.asarray(weights["kernel"]).T)
  layer = nn.Linear(kernel.shape[1], kernel.shape[0])
  layer.weight.data, layer.bias.data = kernel, torch.tensor(np.asarray(weights["bias"]))
  return layer


def random_images(batch: int, size: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
  """Returns images [B, 3, H, W] and labels."""
  return torch.randn(batch, 3, size, size), torch.randint(0, classes, (batch,))
