"""The limit of a differentiable search: its settings, and the penalty that they make."""

import dataclasses
import math
from collections.abc import Mapping

from dnas.cells.image_stack import Size
from dnas.core.config import check, check_name, check_not_negative, check_positive, check_types, named
from dnas.core.costs import scaled
from dnas.core.errors import FieldError, InputError
from dnas.core.paths import expanded
from dnas.core.space import CellSpace
from dnas.supernet.latencies import Table
from dnas.supernet.limits import Limit
from dnas.supernet.operation_costs import COUNTED, OperationCosts, Skeleton, counted
from dnas.supernet.relaxations import OpMask, everything

LATENCY = "latency"
KINDS = (*COUNTED, LATENCY)


@dataclasses.dataclass(frozen=True)
class Config:
  """A limit on the expected cost of the relaxed architecture; by default there is none.

  The cost is that of a discrete network of the size of the supernet, for one image; a latency is that of a batch of the table.

  Attributes:
    of: kind of the cost: multiply_adds, weights, or latency in milliseconds.
    target: the expected cost to which a Lagrange multiplier leads the search; 0 for no target.
    at_most: whether the target is an upper bound alone, so that a smaller expected cost is left as it is.
    weight: coefficient, in nats, of a penalty in the place of a target: of the expected cost divided by that of the uniform mixture.
    rate: step size of the multiplier, in nats: its rise in a step in which the expected cost is twice the target.
    table: file with latencies of single operations, from dnas latency --make.
  """

  of: str = named("multiply_adds", lambda: KINDS)
  target: float = 0.0
  at_most: bool = False
  weight: float = 0.0
  rate: float = 0.03
  table: str = ""

  def __post_init__(self):
    check_types(self)
    check_name("of", self.of, KINDS)
    check_not_negative(target=self.target, weight=self.weight)
    check_positive(rate=self.rate)
    check(not (self.target and self.weight), "weight", self.weight, "a target finds the coefficient itself; give --cost.target=0 for none")
    needs = self.active and self.of == LATENCY and not self.table.strip()
    check(not needs, "table", "empty", "a latency needs a table of this device: dnas latency --make, or give a file of your own")

  @property
  def active(self) -> bool:
    """Whether there is a limit or a penalty."""
    return bool(self.target or self.weight)

  def idle(self, field: str) -> str:
    """Returns why a setting has no effect, and a hint; an empty text if it has an effect."""
    if not self.active and field not in ("target", "weight"):
      return "it does nothing without --cost.target or --cost.weight, so leave it out, or give one of them"
    if field in ("rate", "at_most") and not self.target:
      return "it does nothing without --cost.target, so leave it out"
    if field == "table" and self.of != LATENCY:
      return f"it does nothing with --cost.of={self.of}, so leave it out, or give --cost.of={LATENCY}"
    return ""

  def kept(self) -> dict[str, str]:
    """Returns name to text of the file that a search keeps: the table of latencies, which may change on disk."""
    if not self.active or self.of != LATENCY:
      return {}
    try:
      return {"latency.json": expanded("--cost.table", self.table).read_text(encoding="utf-8")}
    except (OSError, ValueError):
      raise FieldError("cost.table", self.table, "it cannot be read as text; give a file of dnas latency --make") from None

  def said(self, metrics: Mapping[str, float]) -> str:
    """Returns a line on the costs in which a search ended: its target, the expected cost, and that of the discrete network."""
    expected, discrete = metrics["cost/expected"], metrics["cost/discrete"]
    unit = " ms" if self.of == LATENCY else ""
    off = f" ({100 * (expected / self.target - 1):+.1f} %)" if self.target else ""
    of_target = f" at a target of {scaled(self.target)}{unit}{off}" if self.target else ""
    return f"{self.of}: {scaled(expected)}{unit} expected{of_target}, {scaled(discrete)}{unit} of the discrete network"

  def make(
    self, space: CellSpace, size: Size, image_shape: tuple[int, int, int], num_classes: int, op_mask: OpMask | None = None
  ) -> Limit | None:
    """Returns the limit of a search; None if there is none.

    Args:
      space: the space.
      size: of the supernet.
      image_shape: (H, W, C).
      num_classes: number of classes.
      op_mask: masks of the operations that the search begins with; None allows all.

    Raises:
      FieldError: if no mixture has the target as its expected cost, or the table of latencies cannot be used.
    """
    if not self.active:
      return None
    mask = everything(space) if op_mask is None else op_mask
    costs = self._costs(space, size, image_shape, num_classes)
    if not self.target:
      scale = float(costs.expected(mask))
      check(scale > 0, "cost.of", self.of, "no network of this space costs anything of that kind; give another cost, or another table")
      return Limit(costs, scale, self.weight, 0.0)
    least, most = costs.bounds(mask)
    hint = (
      f"the expected cost in {self.of} is {least:,.4g} if every edge has its cheapest operation and {most:,.4g} if every edge has its "
      "dearest, so give a target between"
    )
    check(least <= self.target <= most, "cost.target", self.target, hint)
    return Limit(costs, self.target, 0.0, self.rate, 0.0 if self.at_most else -math.inf)

  def _costs(self, space: CellSpace, size: Size, image_shape: tuple[int, int, int], num_classes: int) -> OperationCosts:
    skeleton = Skeleton.of(space, size, image_shape, num_classes)
    if self.of != LATENCY:
      return counted(skeleton, self.of)
    path = expanded("--cost.table", self.table)
    try:
      return Table.read(path).costs(skeleton, size)
    except InputError as e:
      raise FieldError("cost.table", self.table, str(e).removesuffix(".")) from None
