"""Trained networks in formats that need no dnas: safetensors, a checkpoint of Orbax, and an artifact of `jax.export`.

The artifact is the network in inference mode, with its weights and the normalization of its input, as StableHLO. It runs with JAX alone.
"""

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from dnas.core import durable
from dnas.core.errors import InputError
from dnas.train.classifier import ImageClassifier
from dnas.train.text_model import TextModel

Model = ImageClassifier | TextModel
Tree = Any

PLATFORMS = ("cpu", "cuda", "tpu")
"""The platforms on which an artifact runs."""


def arrays_of(model: Model) -> dict[str, np.ndarray]:
  """Returns the arrays of a network by their dotted paths, such as 'weights.classifier.kernel' and 'stats.stack...'."""
  leaves = jax.tree_util.tree_leaves_with_path({"weights": model.variables.weights, "stats": model.variables.stats})
  return {".".join(str(part.key) for part in path): np.asarray(leaf) for path, leaf in leaves}


def about(model: Model) -> dict[str, Any]:
  """Returns what a program must know to use a network, as JSON can hold it."""
  if isinstance(model, ImageClassifier):
    reads = "uint8 [N, H, W, C], not normalized; the artifact of jax.export normalizes them"
    normalization = {"standardize_images": model.standardize_images}
    return {"kind": "image classifier", "input": reads, **json.loads(model.about.to_json()), **normalization}
  hidden = [[None, *leaf.shape[1:]] for leaf in jax.tree.leaves(model.initial_hidden(1))]
  reads = "int32 [N], positions in the vocabulary, and the hidden states, a list of float32 arrays that begin at zero; None is N"
  return {"kind": "language model", "input": reads, "hidden": hidden, "level": model.level, "vocabulary": list(model.vocabulary.words)}


def to_safetensors(model: Model, folder: pathlib.Path) -> str:
  """Writes `network.safetensors`, with what `about` returns in its metadata, and returns how it is loaded.

  Raises:
    InputError: if the package safetensors is not installed.
  """
  try:
    from safetensors.numpy import save  # pyright: ignore[reportMissingImports]  # an optional package
  except ImportError:
    raise _lacks("safetensors", "safetensors") from None
  arrays = {name: np.ascontiguousarray(array) for name, array in arrays_of(model).items()}
  durable.write(folder / "network.safetensors", save(arrays, {"about": json.dumps(about(model))}))
  return 'arrays = safetensors.numpy.load_file("network.safetensors")  # dotted path to array; the network itself is not in it'


def to_orbax(model: Model, folder: pathlib.Path) -> str:
  """Writes the folder `orbax`, a checkpoint of the trees 'weights' and 'stats', and returns how it is loaded."""
  made, path = folder.absolute() / "orbax.unfinished", folder.absolute() / "orbax"
  tree = {name: value for name, value in vars(model.variables).items() if jax.tree.leaves(value)}
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(made, tree, force=True)
  durable.sync_tree(made)
  shutil.rmtree(path, ignore_errors=True)
  made.rename(path)
  durable.sync_folder(folder)
  return 'trees = orbax.checkpoint.StandardCheckpointer().restore("/absolute/path/of/orbax")  # the network itself is not in it'


def to_jax(model: Model, folder: pathlib.Path) -> str:
  """Writes `network.jax`, and returns how it is loaded. A batch may have any size. A language model reads a word per call.

  Raises:
    InputError: if the package flatbuffers, in which `jax.export` writes, is not installed.
  """
  variables = model.variables  # constants of the artifact
  if isinstance(model, ImageClassifier):
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *model.about.image_shape), np.uint8)
    exported = _exported(lambda images: model.forward(variables, images), images)
    call = "logits = network.call(images)  # images uint8 [N, H, W, C], logits float32 [N, classes]"
  else:
    (batch,) = jax.export.symbolic_shape("batch")
    leaves, structure = jax.tree.flatten(model.initial_hidden(1))
    hidden = [jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype) for leaf in leaves]

    def step(tokens: jax.Array, hidden: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
      logits, after = model.forward(variables, tokens[None], jax.tree.unflatten(structure, hidden))
      return logits[0], jax.tree.leaves(after)

    exported = _exported(step, jax.ShapeDtypeStruct((batch,), np.int32), hidden)
    call = "logits, hidden = network.call(tokens, hidden)  # tokens int32 [N], the next of each text; logits float32 [N, V] of those after"
  try:
    serialized = bytes(exported.serialize())
  except ImportError:
    raise _lacks("jax", "flatbuffers") from None
  durable.write(folder / "network.jax", serialized)
  return f'network = jax.export.deserialize(bytearray(open("network.jax", "rb").read()))\n{call}'


def _lacks(name: str, package: str) -> InputError:
  hint = f"pip install {package}, or give another format"
  return InputError(f"the format {name} needs the package {package}, which is not installed; {hint}.")


def _exported(function: Callable[..., Any], *args: Any) -> jax.export.Exported:
  return jax.export.export(jax.jit(function), platforms=PLATFORMS)(*args)


FORMATS: dict[str, Callable[[Model, pathlib.Path], str]] = {"safetensors": to_safetensors, "orbax": to_orbax, "jax": to_jax}
"""Format to its writer, a function of (network, folder) that returns lines of Python that load what it wrote."""


def write(model: Model, folder: pathlib.Path, formats: tuple[str, ...]) -> None:
  """Writes a network in some formats, with `about.json` and a README.md that says how each is loaded.

  Raises:
    InputError: if a format needs a package that is not installed.
    OSError: if a file cannot be written.
  """
  durable.make_folder(folder)
  durable.write(folder / "about.json", json.dumps(about(model), indent=2) + "\n")
  lines = ["# An exported network", "", f"Kind: {about(model)['kind']}. `about.json` says what goes in and comes out.", ""]
  for name in formats:
    lines += [f"## {name}", "", "```python", _IMPORTS[name], FORMATS[name](model, folder), "```", ""]
  durable.write(folder / "README.md", "\n".join(lines))


_IMPORTS = {"safetensors": "import safetensors.numpy", "orbax": "import orbax.checkpoint", "jax": "import jax.export"}
