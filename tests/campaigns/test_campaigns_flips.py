"""The campaign of flipped bits, with as few as take seconds; it goes on where it was broken off."""

import flips


def test_a_few_flips_are_neither_silent_nor_the_end_of_a_run(tmp_path):
  lines = flips.run(tmp_path, 4, seed=0, by_start=4, others=())
  assert lines == [lines[0] | {"kind": "flipped", "damaged": 4, "anew": 4, "status": 0, "same": True, "traceback": False}]
  assert flips.run(tmp_path, 4, seed=0, by_start=4, others=()) == lines
