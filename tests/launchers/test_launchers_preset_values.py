"""Presets give the configurations that version 0.2.0 gave, apart from the changes that the changelog tells."""

import json
import pathlib

import pytest

from dnas.core import config as config_lib
from dnas.launchers import _presets

RECORDED = json.loads((pathlib.Path(__file__).parent / "earlier_versions" / "presets_0.2.0.json").read_text())

CHANGED = {"text_demo": {"method": "gaea", "darts.arch_learning_rate": 10.0}}


@pytest.mark.parametrize("name", RECORDED)
def test_a_preset_has_the_values_of_before(name):
  expected = RECORDED[name] | CHANGED.get(name, {})
  launcher = expected.pop("launcher")
  found = json.loads(json.dumps(config_lib.flatten(_presets.load(name, launcher))))
  assert {path: found[path] for path in expected} == expected
  added = found.keys() - expected.keys()
  defaults = json.loads(json.dumps(config_lib.defaults(_presets.load(name, launcher))))
  assert {path: found[path] for path in added} == {path: defaults[path] for path in added}, "a new setting has its default"
