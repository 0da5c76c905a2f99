"""The costs of compiled functions, by XLA's own count."""

from typing import Any

import jax

from dnas.compiler.chain import bytes_of
from dnas.compiler.functions import Compiled, kind_of


def costs(function: Any, *args: Any) -> dict[str, float]:
  """Returns the costs of one call with arguments of these types: 'flops', 'bytes accessed', and 'memory' in bytes.

  'memory' is the largest sum, at any time of a call, of its arguments, of what it still needs or returns, and of what the programs that run
  side by side have for themselves. `function` is a `Compiled` function that was called with such arguments, or one of `jax.jit`.
  """
  found = None
  if isinstance(function, Compiled):
    found, function = function.chains[*kind_of(*args), True], function.whole
  if found is None:
    program = function.lower(*args).compile()
    memory = program.memory_analysis()
    peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes if memory else float("nan")
    return _counts(program, float("nan")) | {"memory": float(peak)}
  chain, total = found[0], {"flops": 0.0, "bytes accessed": 0.0}
  sizes = dict(enumerate(map(bytes_of, [*map(jax.typeof, chain.consts), *map(jax.typeof, jax.tree.leaves(args))])))
  live = peak = sum(sizes.values())
  for calls, dead in chain.waves:
    own = 0
    for program, _, writes in calls:
      sizes.update(zip(writes, map(bytes_of, program.made), strict=True))
      memory = program.compiled.memory_analysis()
      total = {name: value + total[name] for name, value in _counts(program.compiled, 0.0).items()}  # what only copies is not counted
      live, own = live + sum(sizes[slot] for slot in writes), own + (memory.temp_size_in_bytes if memory else 0)
    peak = max(peak, live + own)
    live -= sum(sizes[slot] for slot in dead if slot >= chain.given)
  return total | {"memory": float(peak)}


def _counts(program: jax.stages.Compiled, unknown: float) -> dict[str, float]:
  counted = program.cost_analysis() or {}
  return {name: counted.get(name, unknown) for name in ("flops", "bytes accessed")}
