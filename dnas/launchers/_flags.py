"""Configurations on absl flags: presets, overrides, help, and errors that a person can read."""

import contextlib
import dataclasses
import difflib
import math
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from absl import flags

from dnas.core import config as config_lib
from dnas.core import devices
from dnas.core.errors import FieldError, InputError, cause_of, first_line
from dnas.launchers import _help, _output, _presets, _units
from dnas.run.loop import NonFiniteLoss, Stopped
from dnas.run.services import SERVICES

C = TypeVar("C")

BAD_INPUT, FAILED, STOPPED = 2, 1, 143
"""Exit statuses: a person's mistake, a loss that is not finite or a file that cannot be used, a run that was asked to stop."""

_HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull")


@dataclasses.dataclass(frozen=True)
class Options:
  """What launchers have beside their configuration. It changes no result. A launcher has the flags of those that have an effect there.

  Attributes:
    workdir: folder of the run; the same command again resumes the run.
    preset: name of a published or demonstration configuration; other flags override its values.
    imports: your own modules, such as my_units.py or package.module, with commas between them. They register operations, spaces, methods
      or other units, whose settings are then flags.
    save_every_steps: number of steps between checkpoints within an epoch; 0 saves only at the ends of epochs.
    keep_checkpoints: number of checkpoints to keep.
    compilation_cache: folder in which compiled programs are kept between runs; 'none' keeps none.
    compilation_cache_gb: limit of that folder in gigabytes; the least recently used programs are deleted when a run begins and ends.
    devices: number of devices of this machine that share every batch; 0 for all. A resumed run may have another number; its results
      then differ by rounding.
    coordinator: host:port of process 0 if several processes share every batch, on one machine or more; empty for one process. Start the
      same command once per process, each with its own --process_id, and with a --workdir that all processes see.
    num_processes: number of processes.
    process_id: number of this process, from 0.
    deterministic: whether programs on a GPU give the same bits at every run, so that a resumed run ends in the bits of an unbroken one.
      false may be faster. Programs on a CPU always do.
    force: whether to try a run that by its shapes needs more memory than there is.
    metrics_to: services that get the metrics too, beside TensorBoard: wandb, mlflow, or both with a comma between them. Each needs its
      package, and is configured by its own environment variables.
    dry_run: whether to print steps, weights, multiply-adds and memory, and stop. Nothing is compiled, and the run gets no folder. The data
      are read, and downloaded if they are not there.
    profile_steps: first and last step to trace, such as 10,20; empty traces nothing. The trace is in the folder profile of the run, for
      TensorBoard and ui.perfetto.dev. Step 1 cannot be traced, since it compiles.
  """

  workdir: str = ""
  preset: str = ""
  imports: tuple[str, ...] = ()
  save_every_steps: int = 200
  keep_checkpoints: int = 2
  compilation_cache: str = "~/.cache/dnas/compilation"
  compilation_cache_gb: float = 2.0
  devices: int = 1
  coordinator: str = ""
  num_processes: int = 1
  process_id: int = 0
  deterministic: bool = True
  force: bool = False
  metrics_to: tuple[str, ...] = ()
  dry_run: bool = False
  profile_steps: tuple[int, ...] = ()

  def __post_init__(self):
    config_lib.check_types(self)
    config_lib.check_not_negative(save_every_steps=self.save_every_steps, devices=self.devices)
    config_lib.check_positive(keep_checkpoints=self.keep_checkpoints, compilation_cache_gb=self.compilation_cache_gb)
    config_lib.check_positive(num_processes=self.num_processes)
    config_lib.check_at_most(10**6, keep_checkpoints=self.keep_checkpoints)
    config_lib.check_at_most(10**4, num_processes=self.num_processes, devices=self.devices)
    for service in self.metrics_to:
      config_lib.check_name("metrics_to", service, SERVICES)
    given = bool(self.coordinator)
    hint = "give --coordinator=host:port of the first of them" if not given else "it needs none with one process, so give --num_processes"
    config_lib.check(given == (self.num_processes > 1), "num_processes", self.num_processes, hint)
    fits = not given or re.fullmatch(r"\S+:\d+", self.coordinator) is not None
    config_lib.check(fits, "coordinator", self.coordinator, "give host:port of the first process, such as 10.0.0.1:1234")
    if given:
      config_lib.check_port("coordinator", self.coordinator, int(self.coordinator.rpartition(":")[2]))
    fits = 0 <= self.process_id < self.num_processes
    config_lib.check(fits, "process_id", self.process_id, f"it must be at least 0 and below --num_processes, {self.num_processes}")
    steps = self.profile_steps
    fits = not steps or (len(steps) == 2 and 2 <= steps[0] <= steps[1])
    config_lib.check(fits, "profile_steps", ",".join(map(str, steps)), "give the first step, at least 2, and the last, such as 10,20")


ALL_OPTIONS = tuple(field.name for field in dataclasses.fields(Options))
"""Names of all options."""

OPTIONS = tuple(name for name in ALL_OPTIONS if name not in ("coordinator", "num_processes", "process_id", "dry_run"))
"""Names of the options of launchers that begin runs, each in one process."""


def options_without(*names: str) -> tuple[str, ...]:
  """Returns `OPTIONS` without some, which have no effect in a launcher."""
  return tuple(name for name in OPTIONS if name not in names)


class Launcher(Generic[C]):
  """A program with a configuration: parses flags, runs, turns errors into a sentence and an exit status."""

  def __init__(
    self,
    name: str,
    default: C,
    run: Callable[[C, Options, set[str]], object],
    about: str | None,
    by_space: Mapping[str, C] = MappingProxyType({}),
    by_model: Mapping[str, C] = MappingProxyType({}),
    option_names: Collection[str] = OPTIONS,
    positional: str = "",
  ):
    """Makes a launcher.

    Args:
      name: its module in `dnas.launchers`, and the subcommand of `dnas`.
      default: the configuration without preset and flags.
      run: does the work, from the configuration, the options, and the paths of the configuration fields that were given as flags.
      about: the text above the list of flags.
      by_space: what stands in the place of `default` for some values of --space; the flags are then those of its fields.
      by_model: the same for some values of --model.
      option_names: the fields of `Options` that have an effect here; the others are no flags.
      positional: the field that a word without dashes sets.
    """
    self.name, self._default, self._run, self._about = name, default, run, about or ""
    self._by_space, self._by_model, self.option_names = by_space, by_model, option_names
    self._positional = positional

  def main(self, argv: Sequence[str]) -> int:
    """Parses `argv` (with the program's name first), runs, and returns the exit status."""
    with _output.forgiving():
      return self._main(argv)

  def _main(self, argv: Sequence[str]) -> int:
    _units.refuse_while_importing()
    try:
      if any(argument.partition("=")[0] in _HELP for argument in argv[1:]):
        _units.load(_ahead(argv, "imports")["imports"])
        print(self.help(argv))
        return 0
      config, options, given = self.parse(argv)
      self._run(config, options, given)
    except FieldError as e:
      return _complain(f"--{e}", BAD_INPUT)
    except InputError as e:
      return _complain(str(e), BAD_INPUT)
    except NonFiniteLoss as e:
      return _complain(str(e), FAILED)
    except Stopped as e:
      return _complain(str(e), STOPPED)
    except MemoryError:
      return _complain("there is not enough memory; lower the batch size or the size of the network.", FAILED)
    except OSError as e:
      hint = "free space or set permissions there and give the command again"
      return _complain(f"{e.filename or 'a file'} cannot be used ({cause_of(e)}); {hint}.", FAILED)
    except (ValueError, RuntimeError) as e:
      if "RESOURCE_EXHAUSTED" in str(e):
        told = f"the memory of the device is exhausted ({first_line(e).rstrip('.')}); lower the batch size or the size of the network."
        return _complain(told, FAILED)
      if not devices.lost_process(e):
        raise
      _complain(f"another process of this run is gone ({first_line(e)}); start all of them again, and the run goes on.", FAILED)
      devices.leave(FAILED)
    return 0

  def parse(self, argv: Sequence[str]) -> tuple[C, Options, set[str]]:
    """Returns configuration, options, and the paths of the configuration fields given as flags. Raises InputError."""
    _units.load(_ahead(argv, "imports")["imports"])
    values, base = flags.FlagValues(), self._base(argv)
    paths = self._define(values, base)
    option_paths = self._define(values, Options(), self.option_names)
    try:
      rest = values(list(argv))
      if self._positional and len(rest) == 2 and not values[self._positional].present:
        rest = values([rest[0], f"--{self._positional}={rest[1]}"])
    except flags.UnrecognizedFlagError as e:
      raise InputError(self._unknown_flag(e.flagname, base, [*option_paths, *paths])) from None
    except (flags.Error, ValueError) as e:  # absl raises ValueError for --noNAME=VALUE and for a --flagfile that is not text
      raise InputError(_one_sentence(e)) from None
    except RecursionError:  # absl compares a name with those of all flags, letter by letter; it may stand in a --flagfile
      raise InputError("a name of thousands of letters is not a flag; see --help.") from None
    if len(rest) > 1:
      raise InputError(f"'{rest[1]}' is not a flag; write flags as --name=value, see --help.")
    options = config_lib.replace(Options(), {path: values[path].value for path in option_paths if values[path].present})
    given = {path for path in paths if values[path].present}
    return config_lib.replace(base, {path: values[path].value for path in given}), options, given

  def _base(self, argv: Sequence[str]) -> C:
    """Returns the configuration that the flags change: the preset, or the default of the space.

    Raises:
      InputError: for an unknown preset, or a space or a model that is unknown or not of the preset's kind; whatever other flags there are,
        since they are no flags of another configuration.
    """
    preset, space, model = _ahead(argv, "preset", "space", "model").values()
    chosen = self._by_space.get(space, self._by_model.get(model, self._default))
    base = _presets.load(preset, self.name) if preset else config_lib.with_units(chosen)
    given = {"space": space} if space and self._by_space else {}
    given |= {"model": model} if model and self._by_model else {}
    return config_lib.replace(base, given) if given else base

  def _unknown_flag(self, name: str, base: Any, known: Sequence[str]) -> str:
    for config in self._configs() if self._by_space else ():
      if name in (path for path, _, _ in config_lib.fields(config)):
        return f"--{name} is not a flag with --space={base.space}; it is one with --space={config.space} or a preset of that kind."
    switches = {f"no{path}" for path, kind, _ in config_lib.fields(Options()) if kind is bool}
    if name in {*ALL_OPTIONS, *switches} - set(self.option_names):
      return f"--{name} has no effect in dnas {self.name}; leave it out."
    return _unknown_flag(name, known)

  def _define(self, values: flags.FlagValues, config: Any, names: Collection[str] | None = None) -> list[str]:
    texts, paths = config_lib.help_texts(type(config)), []
    for path, kind, default in config_lib.fields(config):
      if names is not None and path not in names:
        continue
      flag = flags.BooleanFlag(path, default, texts[path]) if kind is bool else flags.Flag(_Parser(kind), None, path, default, texts[path])
      flag.parser = _Parser(kind)
      flags.DEFINE_flag(flag, values)
      paths.append(path)
    return paths

  def _configs(self) -> list[Any]:
    return [config_lib.with_units(config) for config in (self._default, *self._by_space.values())]

  def help(self, argv: Sequence[str]) -> str:
    """Returns the help text: what the launcher does, its presets, and its flags by component with defaults.

    Where `argv` has --preset, or --space or --model chooses the configuration, the flags are those of that configuration, with its values.
    With a model they are without those of other networks.

    Raises:
      InputError: for a preset, a space or a model that cannot be.
    """
    base = self._base(argv)
    if base is self._default:
      own = _help.by_space(self._configs())
    else:
      own = _help.listed("Configuration, with the values of this preset, space or model", _help.told(base))
    options = [field for field in _help.told(Options()) if field[0] in self.option_names]
    title = "Flags that other launchers have too"
    return "\n".join([*_help.head(self._about, self.name), *_help.listed(title, options), *own])


class _Parser(flags.ArgumentParser):
  """Reads a value; its errors say what to give, where absl's say what failed."""

  def __init__(self, kind: type):
    self._kind = kind

  def parse(self, argument: Any) -> Any:
    """Returns the value. Raises ValueError."""
    if self._kind in _LISTS:
      return argument if isinstance(argument, tuple) else self._list(argument)
    if isinstance(argument, self._kind) and (self._kind is not float or math.isfinite(argument)):
      return argument
    try:
      value = _WORDS[argument.strip().lower()] if self._kind is bool else self._kind(argument)
      if self._kind is float and not math.isfinite(value):
        raise ValueError
    except (KeyError, ValueError):
      raise ValueError(_HINTS[self._kind]) from None
    return _fitting(value)

  def _list(self, argument: str) -> tuple[int, ...] | tuple[str, ...]:
    try:
      values = tuple(_LISTS[self._kind](part) for part in argument.split(",") if part.strip())
    except ValueError:
      raise ValueError("give whole numbers with commas between them") from None
    return tuple(map(_fitting, values))


def _fitting(value: Any) -> Any:
  """Returns a value. Raises ValueError for a whole number that no array can hold."""
  if isinstance(value, int) and abs(value) >= 10**18:
    raise ValueError("give a number of at most 18 digits")
  return value


_LISTS = {tuple[int, ...]: int, tuple[str, ...]: str.strip}

_WORDS = {"true": True, "t": True, "1": True, "yes": True, "false": False, "f": False, "0": False, "no": False}
_HINTS = {int: "give a whole number", float: "give a finite number", bool: "give true or false"}


def _ahead(argv: Sequence[str], *names: str) -> dict[str, Any]:
  """Returns the values of some flags before all others are known; `imports` as a list."""
  values = flags.FlagValues()
  for name in names:
    (flags.DEFINE_list if name == "imports" else flags.DEFINE_string)(name, "", "", flag_values=values)
  with contextlib.suppress(flags.Error, ValueError):  # the full parse complains
    values(list(argv), known_only=True)
  return {name: values[name].value for name in names}


def refuse_idle(config: Any, given: Collection[str]) -> None:
  """Raises FieldError for a field that was given and has no effect, by `config.idle`."""
  for path in sorted(given):
    if reason := config.idle(path):
      value = config_lib.flatten(config)[path]
      raise FieldError(path, ",".join(map(str, value)) if isinstance(value, list) else value, reason)


def require_one_process(options: Options) -> None:
  """Raises FieldError where several processes are to share the work of a launcher that cannot be shared so."""
  config_lib.check(options.num_processes == 1, "num_processes", options.num_processes, "only dnas search and train can have several")


def require_workdir(options: Options) -> None:
  """Raises InputError if no folder is given."""
  if not options.workdir.strip():
    raise InputError("--workdir is empty; give the folder of the run, for instance --workdir=runs/first.")


def _unknown_flag(name: str, known: Sequence[str]) -> str:
  last = {path: path.rpartition(".")[2] for path in known}
  near = [path for path in known if last[path] == name] or difflib.get_close_matches(name, known, n=1)
  near = near or [path for path in known if difflib.get_close_matches(name, [last[path]], n=1)][:1]
  hint = f"did you mean {' or '.join(f'--{path}' for path in near)}?" if near else "leave it out."
  return f"--{name} is not a flag; {hint} See --help."


def _one_sentence(error: Exception) -> str:
  """Returns absl's message as a sentence."""
  if isinstance(error, flags.CantOpenFlagFileError | UnicodeDecodeError):
    return "--flagfile names no file that can be read as text; give one with a flag on every line."
  text = " ".join(str(error).split())
  if text.startswith("Missing value for flag "):
    flag = text.rpartition(" ")[2]
    return f"{flag} has no value; write it as {flag}=VALUE."
  return f"{text.removeprefix('flag ')}."


def _complain(text: str, status: int) -> int:
  print(f"error: {text}", file=sys.stderr)
  return status
