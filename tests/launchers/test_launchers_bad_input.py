"""Mistakes of a person: one sentence that names the flag or file, the value and the mend; exit status 2; no traceback; nothing written."""

import functools

import pytest
from tiny_runs import DATA, LAUNCHERS, SEARCH, TRAIN, launch, refusal, saved_steps, with_nodes

from dnas.cells.registries import IMAGE_GENOTYPES
from dnas.core import memory
from dnas.data import cifar
from dnas.launchers import compare, demo, report, tune

BASE = {"search": SEARCH, "train": TRAIN}


def refused(capsys, launcher, workdir, *flags):
  return refusal(capsys, launcher, workdir, *BASE[launcher], *flags)


BOTH = [
  (("--workdi=x",), "--workdi is not a flag; did you mean --workdir?"),
  (("--epochs=3",), "--epochs is not a flag; did you mean --{main}.epochs?"),
  (("--{main}.learning_rat=0.1",), "--{main}.learning_rat is not a flag; did you mean --{main}.learning_rate?"),
  (("--channels=3",), "--channels is not a flag; did you mean --{net}.channels"),
  (("--data.batchsize=3",), "--data.batchsize is not a flag; did you mean --data.batch_size?"),
  (("--zzz",), "--zzz is not a flag; leave it out."),
  (("stray",), "'stray' is not a flag; write flags as --name=value"),
  (("--data.flip", "false"), "'false' is not a flag"),
  (("--workdir",), "--workdir has no value; write it as --workdir=VALUE."),
  (("--{main}.epochs=many",), "--{main}.epochs=many: give a whole number."),
  (("--{main}.epochs=1.5",), "--{main}.epochs=1.5: give a whole number."),
  (("--{main}.epochs=",), "--{main}.epochs=: give a whole number."),
  (("--{main}.learning_rate=fast",), "--{main}.learning_rate=fast: give a finite number."),
  (("--{main}.learning_rate=inf",), "--{main}.learning_rate=inf: give a finite number."),
  (("--{main}.weight_decay=nan",), "--{main}.weight_decay=nan: give a finite number."),
  (("--data.flip=maybe",), "--data.flip=maybe: give true or false."),
  (("--nodata.flip=true",), "--nodata.flip=true does not take an argument."),
  (("--flagfile=/nowhere/flags",), "--flagfile names no file that can be read as text"),
  (("--{main}.epochs=0",), "--{main}.epochs is 0; it must be above zero."),
  (("--{main}.epochs=-3",), "--{main}.epochs is -3; it must be above zero."),
  (("--{main}.learning_rate=0",), "--{main}.learning_rate is 0.0; it must be above zero."),
  (("--{main}.momentum=1",), "--{main}.momentum is 1.0; it must be at least 0 and below 1."),
  (("--{net}.channels=0",), "--{net}.channels is 0; it must be above zero."),
  (("--{net}.cells=-1",), "--{net}.cells is -1; it must be above zero."),
  (("--seed=-1",), "--seed is -1; it must be at least 0"),
  (("--seed=99999999999",), "--seed is 99999999999; it must be at least 0 and below 2^32"),
  ((f"--seed={'9' * 400}",), f"--seed={'9' * 400}: give a number of at most 18 digits."),
  ((f"--seed={'9' * 5000}",), f"--seed={'9' * 300}"),
  (("--{net}.cells=100000",), "--{net}.cells is 100000; it must be at most 1,000."),
  (("--{net}.channels=1000000000",), "--{net}.channels is 1000000000; it must be at most 1,000,000."),
  (("--{net}.channels=900000",), "by its shapes the run needs "),
  (("--data.crop_padding=1000000",), "by its shapes the run needs "),
  (("--data.cutout_length=100000000",), "--data.cutout_length is 100000000; it must be at most 1,000,000."),
  (("--{main}.epochs=1000000000",), "--{main}.epochs is 1000000000; it must be at most 100,000."),
  (("--compilation_cache=~nobody_here/x",), "--compilation_cache=~nobody_here/x begins with '~nobody_here', a home folder, and there is"),
  (("--imports=~nobody_here/x.py",), "--imports=~nobody_here/x.py begins with '~nobody_here', a home"),
  (("--coordinator=here:65536", "--num_processes=2"), "--coordinator is here:65536; its port must be 1 to 65535."),
  (("--seed=4294967296",), "--seed is 4294967296; it must be at least 0 and below 2^32"),
  (("--save_every_steps=-1",), "--save_every_steps is -1; it must be zero or more."),
  (("--keep_checkpoints=0",), "--keep_checkpoints is 0; it must be above zero."),
  (("--data.dataset=cifar_10",), "--data.dataset is cifar_10; did you mean 'cifar10'?"),
  (("--data.batch_size=0",), "--data.batch_size is 0; it must be above zero."),
  (("--data.batch_size=100000",), "--data.batch_size is 100000; the split has {split} examples, so give at most that."),
  (("--data.examples=-1",), "--data.examples is -1; it must be zero or more."),
  (("--data.examples=1000",), "--data.examples is 1000; the training set of 'synthetic' has 512, so give at most that, or 0 for all."),
  (("--data.train_portion=0",), "--data.train_portion is 0.0; it must be above 0 and at most 1."),
  (("--data.split=stratify",), "--data.split is stratify; did you mean 'stratified'? It can be contiguous, shuffled, stratified."),
  (("--data.split_seed=-1",), "--data.split_seed is -1; it must be zero or more."),
  (("--data.class_weights=balance",), "--data.class_weights is balance; did you mean 'balanced'? It can be balanced, none."),
  (("--data.cutout_length=3",), "--data.cutout_length is 3; it must be even"),
  (("--data.data_dir=/tmp",), "--data.data_dir is /tmp; the data set 'synthetic' is built in and reads no folder, so leave it empty."),
  (("--preset=zzz",), "--preset is zzz; it can be "),
  (("--preset=digits_dem",), "--preset is digits_dem; did you mean 'digits_demo{suffix}'?"),
]
NAMES = {
  "search": {"main": "darts", "net": "supernet", "split": "256", "suffix": ""},
  "train": {"main": "train", "net": "network", "split": "512", "suffix": "_retrain"},
}


@pytest.mark.parametrize("launcher", ["search", "train"])
@pytest.mark.parametrize("flags, sentence", BOTH, ids=[" ".join(flags) for flags, _ in BOTH])
def test_flags_of_both_launchers(workdir, capsys, launcher, flags, sentence):
  names = NAMES[launcher]
  said = refused(capsys, launcher, workdir, *(flag.format(**names) for flag in flags))
  if flags[0] == "--preset=digits_dem" and launcher == "train":  # the nearest of those for this launcher
    assert said.startswith("--preset is digits_dem; did you mean 'digits_demo_retrain'?")
  assert said.startswith(sentence.format(**names)), said


@pytest.mark.parametrize(
  "launcher, flags, sentence",
  [
    ("search", ["--space=dart_conv"], "--space is dart_conv; did you mean 'darts_conv'? It can be amoebanet, conv_chain, "),
    ("train", ["--space=dart_conv"], "--space is dart_conv; did you mean 'darts_conv'? It can be amoebanet, conv_chain, "),
    ("search", ["--data.dataset=ptb"], "--data.dataset is ptb; it can be arrays, cifar10, cifar100, digits, "),
    ("search", ["--shared_masks"], "--shared_masks is not a flag with --space=darts_conv; it is one with --space=darts_recurrent or"),
    ("train", ["--space=nasnet", "--data.level=word"], "--data.level is not a flag with --space=nasnet; it is one with --space=darts_rec"),
    ("search", ["--hypergradient=second_order"], "--hypergradient is second_order; did you mean 'first_order'?"),
    ("search", ["--unrolled.steps=3"], "--unrolled.steps is 3; it does nothing with --hypergradient=first_order, so leave it out"),
    ("search", ["--hypergradient=unrolled", "--implicit_cg.iterations=3"], "--implicit_cg.iterations is 3; it does nothing with"),
    ("search", ["--hypergradient=unrolled", "--unrolled.steps=0"], "--unrolled.steps is 0; it must be above zero."),
    ("search", ["--method=gdsa"], "--method is gdsa; did you mean 'gdas'?"),
    ("search", ["--gdas.start_temperature=5"], "--gdas.start_temperature is 5.0; it does nothing with --method=darts, so leave it out"),
    ("search", ["--method=pc_darts"], "--pc_darts.partial_channels is 4; it must divide the channels of the supernet, 2."),
    ("search", ["--remedies.stop_window=3"], "--remedies.stop_window is 3; it does nothing with the other --remedies flags"),
    ("search", ["--remedies.stop_ratio=0.75"], "--remedies.stop_ratio is 0.75; it needs 10 diagnoses and the search has 0; lower"),
    ("search", ["--remedies.perturbation=noise"], "--remedies.perturbation is noise; did you mean 'none'? It can be adv"),
    ("search", ["--keep_operations=4"], "--keep_operations is 4; it does nothing without --start_from, so leave it out."),
    ("search", ["--keep_operations=9"], "--keep_operations is 9; an edge has 8 operations."),
    ("search", ["--start_from=~nobody_here/x"], "--start_from=~nobody_here/x begins with '~nobody_here', a home"),
    ("search", ["--num_seeds=1000000"], "--num_seeds is 1000000; it must be at most 1,000."),
    ("search", ["--start_from=nowhere"], "run folder 'nowhere' does not exist; give the folder that a search or a training wrote."),
    ("search", ["--space=nasbench201", "--supernet.cells=4"], "--supernet.cells is 4; this space has three equal stages of cells"),
    ("train", ["--space=nasbench201", "--genotype=|conv~0|+|none~0|"], "--genotype: '|conv~0|+|none~0|' has 2 nodes between its '+'"),
    ("search", ["--data.split_seed=3"], "--data.split_seed is 3; the division of 'synthetic' is contiguous, so leave the seed out"),
    ("search", ["--data.train_portion=1"], "--data.train_portion is 1.0; it leaves one part of the 512 examples"),
    ("search", ["--preset=digits_demo_retrain"], "--preset=digits_demo_retrain is for dnas train and this is dnas search"),
    ("train", ["--preset=digits_demo"], "--preset=digits_demo is for dnas search and this is dnas train; run that one."),
    ("train", ["--train.drop_path=1"], "--train.drop_path is 1.0; it must be at least 0 and below 1."),
    ("train", ["--network.auxiliary"], "--network.auxiliary is True; the auxiliary head needs images of 29 to 32 pixels and these have 8"),
    ("train", ["--genotype=DARTS_V3"], "--genotype is DARTS_V3; did you mean 'DARTS_V2'? It can be AmoebaNet_A, AmoebaNet_B"),
    ("train", ["--genotype=no/such/folder"], "--genotype is no/such/folder; it can be"),
    ("train", ["--genotype=random:x"], "--genotype=random:x has no seed; write random:0, random:1"),
    ("train", ["--genotype=~nobody_here/x"], "--genotype=~nobody_here/x begins with '~nobody_here', a home"),
    ("train", [f"--genotype=x{IMAGE_GENOTYPES['DARTS_V2']}"], '--genotype="xGenotype(normal='),  # too long for the name of a file
    ("train", [f"--genotype={IMAGE_GENOTYPES['DARTS_V2']}".replace("skip_", "skop_")], "--genotype, cell 'normal', node 4: unknown"),
  ],
  ids=lambda value: value[-1][:40] if isinstance(value, list) else None,
)
def test_flags_of_one_launcher(workdir, capsys, launcher, flags, sentence):
  assert refused(capsys, launcher, workdir, *flags).startswith(sentence)


cell = functools.partial(with_nodes, IMAGE_GENOTYPES["DARTS_V2"], "normal")
BAD_FILES = [
  ("", "'' is not a genotype; give JSON"),
  ("{", "not valid JSON at line 1, column 2"),
  ("Genotype(normal=[", "does not parse as"),
  ("import os", "'import os' is not a genotype"),
  (cell(n0=[["sep_conv_9x9", 0], ["skip_connect", 1]]), "node 2: unknown operation 'sep_conv_9x9'. Did you mean 'sep_conv_"),
  (cell(n1=[["skip_connect", 4], ["skip_connect", 1]]), "node 3 has an edge from node 4, which makes a cycle; sources are 0 to 2."),
  (cell(n1=[["skip_connect", 3], ["skip_connect", 1]]), "node 3 has an edge from node 3, which makes a cycle"),
  (cell(n1=[["skip_connect", 17], ["skip_connect", 1]]), "node 3 has an edge from node 17, which does not exist"),
  (cell(n1=[["skip_connect", -1], ["skip_connect", 1]]), "node 3 has an edge from node -1, which does not exist"),
  (cell(n2=[]), "node 4 has no input; give it at least one edge."),
  (cell(n2=[["skip_connect"]]), "is not a pair (operation name, source number)"),
  (cell().replace("darts_conv", "darts_cnv"), "unknown space 'darts_cnv'. Did you mean 'darts_conv'?"),
  (cell().replace('"reduce"', '"reduction"'), "unknown cell 'reduction'. Did you mean 'reduce'?"),
  (cell().replace("[2, 3, 4, 5]", "[2, 9]"), "concat names node 9"),
]


@pytest.mark.parametrize("text, sentence", BAD_FILES, ids=range(len(BAD_FILES)))
def test_files_that_hold_no_network(workdir, tmp_path, capsys, text, sentence):
  file = tmp_path / "cell.json"
  file.write_text(text)
  said = refused(capsys, "train", workdir, f"--genotype={file}")
  assert sentence in said and str(file) in said, said


def test_a_genotype_file_that_is_no_text(workdir, tmp_path, capsys):
  (tmp_path / "cell.json").write_bytes(b"\xff\xfe\x00")
  assert "is not text" in refused(capsys, "train", workdir, f"--genotype={tmp_path / 'cell.json'}")


def test_a_folder_without_a_genotype(workdir, tmp_path, capsys):
  assert "holds no genotype.json" in refused(capsys, "train", workdir, f"--genotype={tmp_path}")


@pytest.mark.parametrize("launcher", ["search", "train"])
def test_data_that_is_missing_or_damaged(workdir, tmp_path, capsys, launcher):
  flags = ("--data.dataset=cifar10", f"--data.data_dir={tmp_path}")
  assert refused(capsys, launcher, workdir, *flags).startswith(f"--data.data_dir is {tmp_path}; it holds no folder 'cifar-10-batches-py'")
  nowhere = tmp_path / "nowhere"
  said = refused(capsys, launcher, workdir, "--data.dataset=cifar10", f"--data.data_dir={nowhere}")
  assert said.startswith(f"--data.data_dir is {nowhere}; ")
  folder = tmp_path / cifar.CIFAR10.folder
  folder.mkdir()
  for name in cifar.CIFAR10.files:
    (folder / name).write_bytes(b"\x80\x02}(U\x06labels](K\x01")  # a pickle that ends too early
  said = refused(capsys, launcher, workdir, *flags)
  assert str(folder / "data_batch_1") in said and "is damaged" in said and "get it again from https://" in said
  (folder / "data_batch_3").unlink()
  said = refused(capsys, launcher, workdir, *flags)
  assert said.startswith(f"{folder / 'data_batch_3'} is missing; get it from https://")


@pytest.mark.parametrize("launcher", ["search", "train"])
def test_folders_that_cannot_be_used(tmp_path, capsys, launcher):
  assert refused(capsys, launcher, "").startswith("--workdir is empty; give the folder of the run")
  assert refused(capsys, launcher, " ").startswith("--workdir is empty")
  file = tmp_path / "file"
  file.write_text("mine")
  for path in (file, file / "below", file / "far" / "below"):
    said = refused(capsys, launcher, path)
    assert str(file) in said and "cannot be used (not a directory" in said.replace("file exists", "not a directory"), said
  assert "/proc/dnas cannot be used (no such file or directory)" in refused(capsys, launcher, "/proc/dnas/run")
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "thesis.tex").write_text("mine")
  assert "holds 'thesis.tex' and no config.json" in refused(capsys, launcher, tmp_path / "full")
  assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "thesis.tex"] and file.read_text() == "mine"


def test_a_folder_for_compiled_programs_that_cannot_be_made(workdir, capsys):
  said = refused(capsys, "search", workdir, "--compilation_cache=/proc/dnas")
  assert said.startswith("--compilation_cache=/proc/dnas cannot be made or written to (") and "give another folder, or 'none'." in said


def test_a_home_of_nobody_makes_no_folder(capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  sentence = "--workdir=~nobody_here/x begins with '~nobody_here', a home folder, and there is no user 'nobody_here'; "
  sentence += "write the path from '/' on."
  for launcher in ("search", "train"):
    assert refused(capsys, launcher, "~nobody_here/x") == sentence
  cifar_there = refused(capsys, "train", "x", "--data.dataset=cifar10", "--data.data_dir=~nobody_here/x")
  assert cifar_there.startswith("--data.data_dir=~nobody_here/x begins with '~nobody_here'")
  for module, flags in ((tune, ()), (demo, ()), (report, ()), (compare, ("--compilation_cache=none", "--pool.workers=1"))):
    assert module.main(["it", *flags, "--workdir=~nobody_here/x"]) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"
  assert compare.main(["compare", "--workdir=x", "--table=~nobody_here/x.npz"]) == 2
  assert capsys.readouterr().err.startswith("error: --table=~nobody_here/x.npz begins with '~nobody_here', a home")
  assert not list(tmp_path.iterdir())


def test_force_tries_what_needs_more_memory_than_there_is(capsys, tmp_path, monkeypatch):
  monkeypatch.setattr(memory, "available", lambda: 1000)
  said = refused(capsys, "train", tmp_path / "run")
  assert said.startswith("by its shapes the run needs ") and "and there are 1e-06 GB; lower --data.batch_size" in said
  assert said.endswith("--network.channels or --network.cells, or give --force to try it.") and not (tmp_path / "run").exists()
  assert launch("train", *TRAIN, f"--workdir={tmp_path / 'run'}", "--force") == 0


def test_no_folder_at_all(capsys):
  for name in ("search", "train"):
    assert LAUNCHERS[name].main([name, *DATA]) == 2
    assert capsys.readouterr().err.startswith("error: --workdir is empty; give the folder of the run, for instance --workdir=runs/first.")
  assert demo.main(["demo"]) == 2 and demo.main(["demo", "--random_cells=1", "--workdir=x"]) == 2
  first, second = capsys.readouterr().err.splitlines()
  assert "--workdir is empty" in first and second == "error: --random_cells is 1; a spread needs at least 2."


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path, capsys):
  flags = (*SEARCH, "--darts.learning_rate=1e30", "--darts.gradient_clip=0", "--save_every_steps=1", f"--workdir={tmp_path / 'run'}")
  assert launch("search", *flags) == 1
  err = capsys.readouterr().err
  kept = saved_steps(tmp_path / "run")
  assert err.startswith("error: the loss of step ") and err.count("\n") == 1 and "lower the learning rate or clip the gradient" in err
  assert kept and f"the last good checkpoint, of step {kept[-1]}, is kept in {tmp_path / 'run' / 'checkpoints'}" in err
  assert not (tmp_path / "run" / "result.json").exists()
