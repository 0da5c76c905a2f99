"""Operations and cells of the NASNet scaffold in plain NumPy, in float64, written from the papers; weights come from our trees.

Images are [B, H, W, C]. Every normalization uses the statistics of the batch.
"""

import re
from typing import Any

import numpy as np

from dnas.core.genotype import CellGenotype

Array = np.ndarray


def relu(x: Array) -> Array:
  return np.where(x > 0, x, 0)


def normalized(x: Array, norm: Any, row: int) -> Array:
  mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
  return (x - mean) / np.sqrt(variance + 1e-5) * np.asarray(norm["scale"][row]) + np.asarray(norm["bias"][row])


def convolved(x: Array, kernel: Array, stride: tuple[int, int] = (1, 1), dilation: int = 1) -> Array:
  """A kernel [h, w, C, D]; one of [h, w, C] is depthwise. The windows are centred at every stride-th pixel, zeros are around the image."""
  rows, columns = (dilation * (size // 2) for size in kernel.shape[:2])
  padded = np.pad(x, [(0, 0), (rows, rows), (columns, columns), (0, 0)])
  out = 0
  for i, j in np.ndindex(*kernel.shape[:2]):
    window = padded[:, i * dilation :, j * dilation :][:, : x.shape[1], : x.shape[2]]
    out = out + (window * kernel[i, j] if kernel.ndim == 3 else window @ kernel[i, j])
  return out[:, :: stride[0], :: stride[1]]


def pooled(x: Array, kind: str, size: int, stride: int) -> Array:
  """Pools the pixels of every window that lie in the image. A window of two begins at its position, other windows are centred."""
  before, (batch, height, width, channels) = (size - 1) // 2, x.shape
  out = np.zeros((batch, -(-height // stride), -(-width // stride), channels))
  for i, j in np.ndindex(*out.shape[1:3]):
    top, left = i * stride - before, j * stride - before
    window = x[:, max(top, 0) : top + size, max(left, 0) : left + size]
    out[:, i, j] = window.max((1, 2)) if kind == "max" else window.mean((1, 2))
  return out


def halved(x: Array, own: Any) -> Array:
  """The factorized reduction: even pixels, and the pixels one below and to the right of them."""
  x = relu(x)
  shifted = np.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)])[:, 1:, 1:]
  parts = x[:, ::2, ::2] @ np.asarray(own["even"][0]), shifted[:, ::2, ::2] @ np.asarray(own["odd"][0])
  return normalized(np.concatenate(parts, -1), own["norm"], 0)


def _layers(name: str) -> list[tuple[int, int]]:
  """The kernels of a chain of dense convolutions."""
  size = int(re.findall(r"\d", name)[1])
  middle = [(1, size), (size, 1)] if name.count("x") == 2 else [(size, size)]
  return [(1, 1), *middle, (1, 1)] if name.startswith("bottleneck") else middle


def operation(name: str, x: Array, own: Any, row: int, stride: int) -> Array:
  """Applies an operation with the weights of one edge: `own` is the tree of an `OperationStack`, `row` the number of the edge."""
  if "pool" in name:
    x = pooled(x, name[:3], int(name[-1]), stride)
    if "projections" not in own:
      return x
    return normalized(x @ np.asarray(own["projections"][name]["kernel"][row]), own["projections"][name]["norm"], row)
  if "sep_conv" in name:
    for depth, layer in own["layers"].items():
      dilation = 2 if name.startswith("dil") else 1
      x = convolved(relu(x), np.asarray(layer["depthwise"][0][row]), (stride, stride) if depth == 0 else (1, 1), dilation)
      x = normalized(x @ np.asarray(layer["pointwise"][row]), layer["norm"], row)
    return x
  if name == "identity" and "others" not in own:
    return x
  own = own["others"][name]
  if "kernel" in own:  # one dense convolution
    return normalized(convolved(relu(x), np.asarray(own["kernel"][row]), (stride, stride)), own["norm"], row)
  for number, size in enumerate(_layers(name)):
    kernel = np.asarray(own["kernels"][number][row])
    assert kernel.shape[:2] == size
    x = convolved(relu(x), kernel, (stride if size[0] > 1 else 1, stride if size[1] > 1 else 1))
    x = normalized(x, own["norms"][number], row)
  return x


def cell(genotype: CellGenotype, previous: Array, current: Array, own: Any, reduction: bool) -> Array:
  """One cell. `own` is the tree of a `nasnet_stack.Cell`."""
  states, used = [], {}
  for number, x in enumerate((previous, current)):
    squeeze = own.get(f"preprocess{number}", {})
    if "kernel" in squeeze:
      x = normalized(relu(x) @ np.asarray(squeeze["kernel"][0]), squeeze["norm"], 0)
    states.append(halved(x, squeeze) if "even" in squeeze else x)
  for node in genotype.nodes:
    total = 0
    for name, source in node:
      row = used.setdefault((name, source), 0)
      used[name, source] += 1
      edges = own.get("outgoing", {}).get(source, {}).get("operations", {}).get(name, {})
      total = total + operation(name, states[source], edges, row, 2 if reduction and source < 2 else 1)
    states.append(total)
  if "projection0" in own:
    states[0] = normalized(states[0] @ np.asarray(own["projection0"]["kernel"][0]), own["projection0"]["norm"], 0)
  return np.concatenate([states[state] for state in genotype.concat], -1)


def stack(genotypes: Any, images: Array, own: Any, num_cells: int) -> list[Array]:
  """All cells. There are N normal cells, a reduction, N normal cells, a reduction, N normal cells, where 3 N + 2 is `num_cells`."""
  stem = normalized(convolved(images, np.asarray(own["stem"]["kernel"])), own["stem_norm"], 0)
  outputs, each = [stem, stem], (num_cells - 2) // 3
  for number in range(num_cells):
    reduction = number in (each, 2 * each + 1)
    outputs.append(cell(genotypes["reduce" if reduction else "normal"], *outputs[-2:], own["cells"][number], reduction))
  return [*outputs[2:-1], relu(outputs[-1])]
