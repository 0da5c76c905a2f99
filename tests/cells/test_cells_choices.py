"""Networks of a user's own with choices: a one-hot mixture is the derived network, mixtures arrive by name, and bad choices are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dnas.cells import choices, functional
from dnas.cells.choices import Choice, InputChoice, WidthChoice
from dnas.core.errors import InputError
from dnas.supernet.choice_network import SearchableNetwork
from dnas.supernet.discretize import discretize, one_hot


class Block(nnx.Module):
  """A block of choices, one inside of another, with a normalization and a random stream."""

  def __init__(self, name: str, channels: int, rngs: nnx.Rngs):
    drop = nnx.Sequential(nnx.Linear(channels, 8, rngs=rngs), nnx.Dropout(0.5, rngs=rngs))
    inner = Choice("inner", linear=nnx.Linear(channels, 8, rngs=rngs), drop=drop)
    conv = nnx.Conv(channels, 8, (3, 3), rngs=rngs)
    self.choice = Choice(name, [("3x3", conv), ("norm", nnx.Sequential(nnx.BatchNorm(channels, rngs=rngs), inner, nnx.relu))])

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.choice(x)


class Net(nnx.Module):
  """All kinds of choices, in attributes, lists, dictionaries and tuples."""

  def __init__(self, rngs: nnx.Rngs):
    self.width = WidthChoice("width", (3, 6))
    self.stem = nnx.Conv(1, self.width.channels, (3, 3), rngs=rngs)
    self.norm = nnx.BatchNorm(self.width.channels, rngs=rngs)
    self.blocks = nnx.List([Block(f"block{i}", self.width.channels, rngs) for i in range(2)])
    self.merge = nnx.Dict(inputs=InputChoice("merge", 3, keep=2))
    self.act = Choice("act", relu=nnx.relu, tanh=jnp.tanh)
    self.head = nnx.Linear(8, 3, rngs=rngs)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    x = self.width(nnx.relu(self.norm(self.stem(x), use_running_average=not train)))
    first, second = (block(x) for block in self.blocks)
    return self.head(self.act(self.merge["inputs"]([first, second, first * second])).mean((1, 2)))


@pytest.fixture(scope="module")
def net() -> SearchableNetwork:
  return SearchableNetwork(Net)


IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 6, 1)), jnp.float32)


def modules_of(module: nnx.Module) -> set[type]:
  return {type(one) for _, one in nnx.iter_modules(module)}


def test_the_space_is_read_from_the_modules(net: SearchableNetwork):
  points = {point.name: point for point in net.space.points}
  assert list(points) == ["width", "block0", "block1", "inner", "merge", "act"]
  assert points["inner"].places == ((("block0", "norm"),), (("block1", "norm"),))  # one decision in two places
  assert points["merge"].options == ("input0", "input1", "input2") and points["merge"].kept == 2
  assert points["width"].options == ("3", "6")


def test_choices_that_differ_in_their_name_alone_share_a_program():
  traced = []

  def option(x: jax.Array) -> jax.Array:
    traced.append(x.shape)
    return x

  class Two(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
      self.choices = nnx.List([Choice(name, {"3x3": option, "relu": nnx.relu}) for name in ("first", "second")])

    def __call__(self, x: jax.Array) -> jax.Array:
      for choice in self.choices:
        x = choice(x)
      return x

  two = SearchableNetwork(Two)
  mixture = {"first": jnp.array([[0.5, 0.5]]), "second": jnp.array([[0.0, 1.0]])}
  output, _ = two.apply(two.initial, mixture, jnp.array([-2.0, 2.0]), train=True)
  np.testing.assert_array_equal(output, [0, 2])
  assert traced == [(2,)]


def test_a_one_hot_mixture_is_the_derived_network(net: SearchableNetwork):
  rng = np.random.default_rng(1)
  for _ in range(5):
    genotype = net.space.sample(rng)
    mixture = one_hot(net.space, genotype)
    assert discretize(net.space, mixture) == genotype
    derived = net.derive(genotype, net.initial)
    assert not {Choice, InputChoice, WidthChoice} & modules_of(derived)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(functional.split_free(derived)[1]))
    derived.eval()
    np.testing.assert_allclose(derived(IMAGES, train=False), net.apply(net.initial, mixture, IMAGES)[0], atol=1e-5)
  assert net.derive("width=3,block0=3x3,block1=3x3,merge=input0+input1,act=relu").stem.kernel[...].shape == (3, 3, 1, 3)


def test_a_width_and_its_batch_statistics_are_those_of_the_derived_network(net: SearchableNetwork):
  genotype = net.space.parse("width=3,block0=norm,block1=3x3,inner=linear,merge=input0+input1,act=tanh")
  output, stats = net.apply(net.initial, one_hot(net.space, genotype), IMAGES, jax.random.key(0), train=True)
  derived = net.derive(genotype, net.initial)
  derived.train()
  np.testing.assert_allclose(derived(IMAGES, train=True), output, atol=1e-5)
  np.testing.assert_allclose(derived.norm.mean[...], stats["norm"]["mean"][:3], atol=1e-6)
  assert np.any(stats["norm"]["mean"]) and not np.any(net.initial.stats["norm"]["mean"])


def test_a_mixture_weighs_the_outputs(net: SearchableNetwork):
  rng = np.random.default_rng(2)
  mixture = {name: rng.dirichlet(np.ones(shape[1]), 1).astype(np.float32) for name, shape in net.space.arch_shapes.items()}
  module = Net(nnx.Rngs(0))
  with choices.mixing(mixture, False):
    block = module.blocks[0]
    module.eval()
    x = jnp.asarray(rng.normal(size=(2, 6, 6, 6)), jnp.float32)
    conv, norm = block.choice.modules
    inner = norm.layers[1]
    linear, drop = inner.modules
    normed = norm.layers[0](x)
    mixed = mixture["inner"][0, 0] * linear(normed) + mixture["inner"][0, 1] * drop(normed)
    expected = mixture["block0"][0, 0] * conv(x) + mixture["block0"][0, 1] * nnx.relu(mixed)
    np.testing.assert_allclose(block(x), expected, atol=1e-5)
    images = [jnp.full((2, 3), float(value)) for value in (1, 2, 4)]
    np.testing.assert_allclose(module.merge["inputs"](images), (mixture["merge"][0] @ [1, 2, 4]) * np.ones((2, 3)), rtol=1e-6)
    masked = module.width(jnp.ones((2, 6)))
  first, second = mixture["width"][0]
  np.testing.assert_allclose(masked, [[first + second] * 3 + [second] * 3] * 2, rtol=1e-6)


def test_gradients_reach_the_mixture_and_weights(net: SearchableNetwork):
  mixture = {name: np.full(shape, 1 / shape[1], np.float32) for name, shape in net.space.arch_shapes.items()}

  def loss(weights, mixture):
    variables = type(net.initial)(weights, net.initial.stats)
    return (net.apply(variables, mixture, IMAGES, jax.random.key(0), train=True)[0] ** 2).sum()

  in_weights, in_mixture = jax.jit(jax.grad(loss, (0, 1)))(net.initial.weights, mixture)
  assert all(np.abs(gradient).max() > 0 for gradient in in_mixture.values())
  assert all(np.isfinite(gradient).all() for gradient in jax.tree.leaves(in_weights))


def test_random_streams_come_from_the_key_alone(net: SearchableNetwork):
  mixture = one_hot(net.space, net.space.parse("width=6,block0=norm,block1=3x3,inner=drop,merge=input0+input1,act=tanh"))
  calls = [net.apply(net.initial, mixture, IMAGES, jax.random.key(seed), train=True)[0] for seed in (0, 0, 1)]
  np.testing.assert_array_equal(calls[0], calls[1])
  assert np.abs(calls[0] - calls[2]).max() > 1e-3
  np.testing.assert_array_equal(*(net.apply(net.initial, mixture, IMAGES, jax.random.key(seed))[0] for seed in (0, 1)))
  assert all(np.issubdtype(leaf.dtype, np.number) for leaf in jax.tree.leaves(net.initial))


def test_weights_are_fresh_by_seed_or_inherited(net: SearchableNetwork):
  genotype = net.space.sample(np.random.default_rng(0))
  one, same, other = (net.derive(genotype, seed=seed).head.kernel[...] for seed in (1, 1, 2))
  np.testing.assert_array_equal(one, same)
  assert np.abs(one - other).max() > 1e-3
  variables = jax.tree.map(lambda leaf: leaf + 1, net.initial)
  np.testing.assert_array_equal(net.derive(genotype, variables).head.kernel[...], variables.weights["head"]["kernel"])
  again = net.reseeded(5)
  before, after = (one.initial.weights["head"]["kernel"] for one in (net, again))
  assert again.network == net.network and np.abs(after - before).max() > 1e-3


class Flat(nnx.Module):
  """A layer that reads the channels of a width behind a flattening."""

  def __init__(self, rngs: nnx.Rngs):
    self.width = WidthChoice("width", (3, 6))
    self.stem = nnx.Conv(1, self.width.channels, (3, 3), rngs=rngs)
    self.head = nnx.Linear(4 * self.width.channels, 2, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.head(self.width(self.stem(x)).reshape(len(x), -1))


def test_what_reads_channels_in_another_order_inherits_nothing():
  net = SearchableNetwork(Flat)
  assert net.derive("width=6", net.initial).head.kernel[...].shape == (24, 2)
  assert net.derive("width=3").head.kernel[...].shape == (12, 2)
  with pytest.raises(InputError, match=r"head.kernel has the shape \(24, 2\) in the search and \(12, 2\) in the network found"):
    net.derive("width=3", net.initial)


def test_a_binding_ends_with_its_call_and_may_be_nested():
  choice = Choice("c", a=nnx.relu, b=jnp.negative)
  inner, outer = ({"c": np.array([weights], np.float32)} for weights in ([1, 0], [0, 1]))
  with choices.mixing(outer, False):
    with pytest.raises(ZeroDivisionError), choices.mixing(inner, False):
      raise ZeroDivisionError
    with choices.mixing(inner, False):
      assert choice(jnp.float32(2)) == 2
    assert choice(jnp.float32(2)) == -2
  with pytest.raises(InputError, match="choice 'c' has no mixture weights in a plain call of its network"):
    choice(jnp.float32(2))


def test_an_option_gets_all_arguments():
  def scaled(x, factor, *, shift):
    return factor * x["a"] + shift

  choice = Choice("c", {"one": scaled, "two": lambda x, factor, *, shift: x["a"]})
  with choices.mixing({"c": np.array([[0.5, 0.5]], np.float32)}, False):
    np.testing.assert_allclose(choice({"a": jnp.ones(2)}, 3, shift=jnp.float32(1)), [2.5, 2.5])


def network_of(*parts):
  class Some(nnx.Module):
    def __init__(self, rngs):
      self.parts = nnx.List([part(rngs) for part in parts])

    def __call__(self, x):
      return [part(x) for part in self.parts]

  return lambda: SearchableNetwork(Some)


def twice(x):
  return jnp.concatenate([x, x])


def of_other_shapes():
  net = network_of(lambda rngs: Choice("c", conv=nnx.relu, pool=twice))()
  net.apply(net.initial, {"c": np.ones((1, 2))}, jnp.ones((2, 3)))


def of_two_inputs():
  net = network_of(lambda rngs: InputChoice("c", ("x", "y")))()
  net.apply(net.initial, {"c": np.ones((1, 2))}, jnp.ones((3, 3)))


BAD = {
  "choice 'c' has one option, 'a', so there is nothing to choose; give it at least two.": lambda: Choice("c", a=nnx.relu),
  "choice 'c' has no options": lambda: Choice("c"),
  "choice 'c' has two options of the name 'a'": lambda: Choice("c", [("a", nnx.relu), ("a", nnx.gelu)]),
  "choice 'c' has two options of the name 'b'": lambda: Choice("c", {"b": nnx.relu}, b=nnx.gelu),
  "choice 'c', option 'b': 3 cannot be called": lambda: Choice("c", a=nnx.relu, b=3),
  "choice 'c' has the options 5; give them by name": lambda: Choice("c", 5),  # pyright: ignore[reportArgumentType]
  "choice 'c' has the options ['a', 'b']; give them by name": lambda: Choice("c", ["a", "b"]),  # pyright: ignore[reportArgumentType]
  "choice 'c' has the options 2.5; give a list of names.": lambda: InputChoice("c", 2.5),  # pyright: ignore[reportArgumentType]
  "choice 'c' has the options 'abc'; give a list of names.": lambda: InputChoice("c", "abc"),
  "choice 'c' has the widths None;": lambda: WidthChoice("c", None),  # pyright: ignore[reportArgumentType]
  "choice 'my block' has no usable name": lambda: Choice("my block", a=nnx.relu, b=nnx.gelu),
  "choice 'c' keeps 2 of 2 options": lambda: InputChoice("c", 2, keep=2),
  "choice 'c' keeps True of 2 options": lambda: InputChoice("c", 2, keep=True),
  "choice 'c' has the widths (8, 4)": lambda: WidthChoice("c", (8, 4)),
  "choice 'c' has one option, '8'": lambda: WidthChoice("c", (8,)),
  "choice 'c' has two options of the name '8'": lambda: WidthChoice("c", (8, 8)),
  "choice 'c': option 'conv' gives (2, 3) and option 'pool' gives (4, 3); make their outputs equal in shape.": of_other_shapes,
  "choice 'c' gets 3 inputs and has 2 names: x, y.": of_two_inputs,
  "network Some has no choices, so there is nothing to search": network_of(lambda rngs: nnx.Linear(2, 2, rngs=rngs)),
  "choice 'c' has the options a, b in one place and a, d in another": network_of(
    lambda rngs: Choice("c", a=nnx.relu, b=nnx.gelu), lambda rngs: Choice("c", a=nnx.relu, d=nnx.gelu)
  ),
  "choice 'c' stands inside one of its own options": network_of(
    lambda rngs: Choice("c", a=nnx.relu, b=Choice("c", a=nnx.relu, b=nnx.gelu))
  ),
  "the choices c, d stand inside each other in a circle": network_of(
    lambda rngs: Choice("c", a=nnx.relu, b=Choice("d", a=nnx.relu, b=nnx.gelu)),
    lambda rngs: Choice("d", a=nnx.relu, b=Choice("c", a=nnx.relu, b=nnx.gelu)),
  ),
  "network is 'Net', which is no function of nnx.Rngs": lambda: SearchableNetwork(Net(nnx.Rngs(0))),
  "network is 'type', which is no function of nnx.Rngs": lambda: SearchableNetwork(dict),  # pyright: ignore[reportArgumentType]
  "the function that builds the network does not fit (": lambda: SearchableNetwork(lambda: Net(nnx.Rngs(0))),
  "does not fit (missing a required argument: 'out_features')": lambda: SearchableNetwork(nnx.Linear),  # pyright: ignore[reportArgumentType]
  "the function that builds the network returns 'int'": lambda: SearchableNetwork(lambda rngs: 3),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_choices_are_refused_in_one_sentence(message):
  with pytest.raises(InputError) as e:
    BAD[message]()
  assert message in str(e.value) and "\n" not in str(e.value)
