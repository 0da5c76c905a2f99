"""`dnas describe` through its main: totals, layers, latency, refusals."""

import re

import numpy as np
import pytest

from dnas.cells import nasbench201
from dnas.launchers import describe

TINY = ("--space=nasbench201", "--network.channels=4", "--network.cells=3", "--image_shape=8,8,1", "--classes=3")


def describe_(*flags):
  return describe.main(["describe", *flags, "--compilation_cache=none"])


def test_a_network_of_a_genotype_and_its_latency(capsys):
  assert describe_(*TINY, "--genotype=random:1", "--batch_sizes=1,4") == 0
  out = capsys.readouterr().out
  total = float(re.search(r"([\d.]+) k multiply-adds", out)[1])
  (top,) = re.findall(r"^\| stack .*\| ([\d.]+) k ", out, re.MULTILINE)
  (last,) = re.findall(r"^\| classifier .*\| (\d+) ", out, re.MULTILINE)
  assert float(top) + float(last) / 1e3 == pytest.approx(total, abs=0.02)
  assert "(of one image of 8x8x1)" in out and "· stack.reductions.0" in out
  rows = re.findall(r"^\| (\d+) +\| ([\d.]+) +\| ([\d.]+) to ([\d.]+) ", out, re.MULTILINE)
  assert [int(row[0]) for row in rows] == [1, 4]
  assert all(0 < float(lower) <= float(median) <= float(upper) for _, median, lower, upper in rows)


def test_a_genotype_in_a_file_names_its_space(tmp_path, capsys):
  (tmp_path / "genotype.json").write_text(nasbench201.SPACE.sample(np.random.default_rng(0)).to_json())
  found = []
  for space in ((), ("--space=nasbench201",)):
    assert describe_(f"--genotype={tmp_path}", *TINY[1:], *space, "--batch_sizes=") == 0
    found.append(capsys.readouterr().out)
  assert found[0] == found[1] and ", the largest of " in found[0]


@pytest.mark.parametrize("flags", [("--model=resnet", "--resnet.depth=8"), ("--space=conv_chain", "--genotype=random:0")])
def test_other_networks_for_images(flags, capsys):
  assert describe_(*flags, "--batch_sizes=", "--depth=1") == 0
  out = capsys.readouterr().out
  assert "| classifier" in out and "Latency" not in out and "·" not in out


@pytest.mark.parametrize("flags", [("--space=darts_recurrent", "--network.units=8"), ("--model=awd_lstm", "--awd_lstm.units=8")])
def test_language_models_are_counted_by_the_word(flags, capsys):
  assert describe_(*flags, "--words=20", "--batch_sizes=") == 0
  out = capsys.readouterr().out
  assert "(of one word)" in out and "outside of these modules" in out


@pytest.mark.parametrize(
  ("flags", "told"),
  [
    (("--network.dropout=0.5",), "--network.dropout is 0.5; it belongs to training"),
    (("--batch_sizes=0",), "--batch_sizes is 0; give batch sizes above zero"),
    (("--image_shape=32,32",), "--image_shape is 32,32; give height, width and colours"),
    (("--depth=-1",), "--depth is -1; it must be between 0 and 20"),
    (("--words=1", "--space=darts_recurrent"), "--words is 1; it must be at least 2"),
    (("--model=resnet", "--network.cells=3"), "--network.cells is 3; it is a setting of networks of cells"),
    (("--genotype=DARTS_V3",), "did you mean 'DARTS_V2'"),
    (("--space=nasnet_a",), "--space is nasnet_a; the genotype is of the space darts_conv"),
    (("--space=nasbench201", "--model=resnet"), "--space is nasbench201; it does nothing with --model=resnet"),
  ],
)
def test_refusals(flags, told, capsys):
  assert describe_(*flags) == 2
  assert told in capsys.readouterr().err
