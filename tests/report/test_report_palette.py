"""Colours can be read as text and told apart, also with a colour vision deficiency."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from dnas.report.palette import CURVES, operation_color, operation_lines

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISION = {
  "common": np.eye(3),
  "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
  "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
FAMILIES = ("skip_connect", "sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3", "nor_conv_3x3")


def linear(color):
  rgb = np.array(to_rgb(color))
  return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
  xyz = XYZ @ rgb / XYZ.sum(axis=1)
  x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
  return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_families_are_told_apart(vision):
  labs = [lab(np.clip(np.array(VISION[vision]) @ linear(operation_color(name)), 0, 1)) for name in FAMILIES]
  assert min(np.linalg.norm(one - two) for one, two in itertools.combinations(labs, 2)) >= 20


@pytest.mark.parametrize("color", [*map(operation_color, ("none", *FAMILIES)), *CURVES])
def test_colours_are_legible_on_white(color):
  assert 1.05 / (XYZ[1] @ linear(color) + 0.05) >= 4.5


def test_every_operation_of_a_space_has_a_line_of_its_own(darts, recurrent):
  for operations in (darts.operations, recurrent.operations, ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")):
    lines = operation_lines(operations)
    assert list(lines) == list(operations)
    assert len({str(line) for line in lines.values()}) == len(operations)
