"""Mistakes of a person with text: one sentence that names the flag or file, the value and the mend; exit 2; nothing written."""

import functools
import json

import pytest
from tiny_runs import TEXT_DATA, TEXT_SEARCH, TEXT_TRAIN, contents, launch, lines, refusal, saved_steps, with_nodes

from dnas.cells.registries import IMAGE_GENOTYPES, LANGUAGE_GENOTYPES
from dnas.data import synthetic

BASE = {"search": TEXT_SEARCH, "train": TEXT_TRAIN}
PTB = ("--space=darts_recurrent", "--data.dataset=ptb")


def refused(capsys, launcher, workdir, *flags):
  return refusal(capsys, launcher, workdir, *BASE[launcher], *flags)


ELSEWHERE = "is not a flag with --space=darts_recurrent; it is one with --space=darts_conv or a preset of that kind."
BOTH = [
  (("--units=3",), "--units is not a flag; did you mean --{net}.units"),
  (("--level=word",), "--level is not a flag; did you mean --data.level?"),
  (("--data.tokns=3",), "--data.tokns is not a flag; did you mean --data.tokens?"),
  (("--{net}.dropout_hiden=0.1",), "--{net}.dropout_hiden is not a flag; did you mean --{net}.dropout_hidden?"),
  (("--{net}.channels=3",), f"--{{net}}.channels {ELSEWHERE}"),
  (("--data.flip",), f"--data.flip {ELSEWHERE}"),
  (("--data.train_portion=0.5",), f"--data.train_portion {ELSEWHERE}"),
  (("--{net}.units=0",), "--{net}.units is 0; it must be above zero."),
  (("--{net}.units=many",), "--{net}.units=many: give a whole number."),
  (("--{net}.dropout_hidden=1",), "--{net}.dropout_hidden is 1.0; it must be at least 0 and below 1."),
  (("--{net}.dropout_words=-0.1",), "--{net}.dropout_words is -0.1; it must be at least 0 and below 1."),
  (("--{net}.dropout_output=nan",), "--{net}.dropout_output=nan: give a finite number."),
  (("--{net}.temporal_penalty=-1",), "--{net}.temporal_penalty is -1.0; it must be zero or more."),
  (("--data.short_probability=1",), "--data.short_probability is 1.0; it must be at least 0 and below 1."),
  (("--data.length_deviation=-1",), "--data.length_deviation is -1.0; it must be zero or more, and finite."),
  (("--data.buckets=0",), "--data.buckets is 0; it must be above zero."),
  (("--data.eval_batch_size=0",), "--data.eval_batch_size is 0; it must be above zero."),
  (("--data.sequence_length=1",), "--data.sequence_length is 1; it must be at least 2"),
  (("--data.sequence_length=50",), "--data.sequence_length is 50; with batch size 8 a column of the training text has 49 words, so lower"),
  (("--data.batch_size=100000",), "--data.sequence_length is 6; with batch size 100000 a column of the training text has 0 words, so"),
  (("--data.tokens=6001",), "--data.tokens is 6001; the training text of 'synthetic_text' has 6000, so give at most that, or 0 for all."),
  (("--data.tokens=1",), "--data.tokens is 1; it must be at least 2, or 0 for the whole text."),
  (("--data.tokens=-5",), "--data.tokens is -5; it must be at least 2, or 0 for the whole text."),
  (("--data.level=words",), "--data.level is words; did you mean 'word'? It can be character, word."),
  (("--data.dataset=cifar10",), "--data.dataset is cifar10; it can be ptb, python_docs, synthetic_text, text_file, wikitext2."),
  (("--data.dataset=python_doc",), "--data.dataset is python_doc; did you mean 'python_docs'?"),
  (("--data.data_dir=/tmp",), "--data.data_dir is /tmp; the data set 'synthetic_text' is built in and reads no folder, so leave it empty."),
  (("--seed=-1",), "--seed is -1; it must be at least 0"),
  (("--space=darts_recurent",), "--space is darts_recurent; did you mean 'darts_recurrent'? It can be amoebanet, conv_chain, "),
  (
    ("--space=text",),
    "--space is text; it can be amoebanet, conv_chain, darts_conv, darts_recurrent, darts_s1, darts_s2, darts_s3, darts_s4, "
    "naonet, nasbench201, nasnet, nasnet_a, residual_conv.",
  ),
  (("--space=darts_conv",), "--data.tokens is not a flag with --space=darts_conv; it is one with --space=darts_recurrent or a preset"),
]
NAMES = {"search": {"net": "supernet"}, "train": {"net": "network"}}


@pytest.mark.parametrize("launcher", ["search", "train"])
@pytest.mark.parametrize("flags, sentence", BOTH, ids=[" ".join(flags) for flags, _ in BOTH])
def test_flags_of_both_launchers(workdir, capsys, launcher, flags, sentence):
  said = refused(capsys, launcher, workdir, *(flag.format(**NAMES[launcher]) for flag in flags))
  assert said.startswith(sentence.format(**NAMES[launcher])), said


@pytest.mark.parametrize(
  "launcher, flags, sentence",
  [
    ("search", ["--shared_masks=maybe"], "--shared_masks=maybe: give true or false."),
    ("search", ["--hypergradient=second_order"], "--hypergradient is second_order; did you mean 'first_order'?"),
    ("search", ["--method=pc_darts"], "--pc_darts.partial_channels is 4; text has no channels, so it must be 1."),
    ("search", ["--data.batch_size=1"], "--data.batch_size is 1; the supernet normalizes over the batch, so it must be at least 2."),
    ("search", ["--data.eval_batch_size=1"], "--data.eval_batch_size is 1; the supernet normalizes over the batch, so it must be"),
    ("search", ["--finite_difference.radius=1"], "--finite_difference.radius is 1.0; it does nothing with --hypergradient=first_order"),
    (
      "search",
      ["--data.tokens=0", "--data.sequence_length=150"],
      "--data.sequence_length is 150; with batch size 8 a column of the validation text has 149 words, "
      "so lower the sequence length or the batch size.",
    ),
    ("train", ["--train.patience=-1"], "--train.patience is -1; it must be zero or more."),
    ("train", ["--train.test_batch_size=0"], "--train.test_batch_size is 0; it must be above zero."),
    ("train", ["--train.drop_path=0.2"], f"--train.drop_path {ELSEWHERE}"),
    (
      "train",
      ["--genotype=DARTS_V3"],
      "--genotype is DARTS_V3; did you mean 'DARTS_V2'? It can be DARTS_V1, DARTS_V2, ENAS, NAONet, the folder",
    ),
    ("train", ["--genotype=random:x"], "--genotype=random:x has no seed; write random:0, random:1"),
    (
      "train",
      ["--genotype=PDARTS"],
      "--genotype=PDARTS is a cell of the space 'darts_conv', and 'darts_recurrent' was asked for; give --space=darts_conv or",
    ),
  ],
  ids=lambda value: value[-1][:40] if isinstance(value, list) else None,
)
def test_flags_of_one_launcher(workdir, capsys, launcher, flags, sentence):
  assert refused(capsys, launcher, workdir, *flags).startswith(sentence)


@pytest.mark.parametrize(
  "launcher, flags, sentence",
  [
    (
      "search",
      ["--preset=text_demo", "--space=darts_conv", "--data.flip"],
      "--space is darts_conv; this preset is for text, so give darts_recurrent, or another preset.",
    ),
    (
      "search",
      ["--preset=digits_demo", "--space=darts_recurrent", "--data.level=word"],
      "--space is darts_recurrent; this preset is for images, so give amoebanet, darts_s1, darts_s2, darts_s3, darts_s4, "
      "darts_conv, nasnet, residual_conv, naonet, nasbench201 or nasnet_a, or another preset.",
    ),
    ("train", ["--preset=text_demo_retrain", "--space=nasnet"], "--space is nasnet; this preset is for text, so give darts_recurrent"),
    ("search", ["--preset=text_demo", "--space=darts_recurent"], "--space is darts_recurent; did you mean 'darts_recurrent'? It can be"),
    ("search", ["--preset=text_dem"], "--preset is text_dem; did you mean 'text_demo'?"),
    ("search", ["--preset=text_demo", "--data.flip=true"], f"--data.flip {ELSEWHERE}"),
    ("search", ["--preset=text_demo", "--data.dataset=digits"], "--data.dataset is digits; it can be ptb, python_docs, "),
    ("train", ["--preset=text_demo"], "--preset=text_demo is for dnas search and this is dnas train; run that one."),
    (
      "train",
      ["--preset=digits_demo_retrain", "--genotype=ENAS"],
      "--genotype=ENAS is a cell of the space 'darts_recurrent', and 'darts_conv' was asked for; give --space=darts_recurrent or",
    ),
  ],
)
def test_presets_of_the_other_half(workdir, capsys, launcher, flags, sentence):
  assert refusal(capsys, launcher, workdir, *flags).startswith(sentence)


cell = functools.partial(with_nodes, LANGUAGE_GENOTYPES["DARTS_V2"], "recurrent")
BAD_FILES = [
  (cell(n0=[["none", 0]]), "cell 'recurrent', node 1: unknown operation 'none'. Known: identity, relu, sigmoid, tanh."),
  (cell(n2=[["rellu", 0]]), "node 3: unknown operation 'rellu'. Did you mean 'relu'?"),
  (cell(n1=[["tanh", 2]]), "node 2 has an edge from node 2, which makes a cycle; sources are 0 to 1."),
  (cell(n1=[["tanh", 99]]), "node 2 has an edge from node 99, which does not exist"),
  (cell(n3=[]), "node 4 has no input; give it at least one edge."),
  (cell().replace("[1, 2, 3, 4, 5, 6, 7, 8]", "[0, 1]"), "concat names node 0; the nodes are 1 to 8."),
  (cell().replace("darts_recurrent", "darts_recurent"), "unknown space 'darts_recurent'. Did you mean 'darts_recurrent'?"),
  (cell().replace('"recurrent": ', '"recurent": '), "unknown cell 'recurent'. Did you mean 'recurrent'?"),
  (IMAGE_GENOTYPES["DARTS_V2"].to_json(), "holds a cell of the space 'darts_conv', and 'darts_recurrent' was asked for; give"),
]


@pytest.mark.parametrize("text, sentence", BAD_FILES, ids=range(len(BAD_FILES)))
def test_files_that_hold_no_network(workdir, tmp_path, capsys, text, sentence):
  file = tmp_path / "cell.json"
  file.write_text(text)
  said = refused(capsys, "train", workdir, f"--genotype={file}")
  assert sentence in said and str(file) in said, said


def test_folders_of_the_other_half(workdir, tmp_path, capsys):
  (tmp_path / "genotype.json").write_text(IMAGE_GENOTYPES["DARTS_V1"].to_json())
  said = refused(capsys, "train", workdir, f"--genotype={tmp_path}")
  assert said == (
    f"{tmp_path / 'genotype.json'} holds a cell of the space 'darts_conv', and 'darts_recurrent' was asked for; "
    "give --space=darts_conv or a preset for images."
  )
  (tmp_path / "genotype.json").write_text(LANGUAGE_GENOTYPES["DARTS_V1"].to_json())
  said = refusal(capsys, "train", workdir, "--preset=digits_demo_retrain", f"--genotype={tmp_path}")
  assert said.endswith("give --space=darts_recurrent or a preset for text.")


@pytest.fixture
def texts(tmp_path):
  """A folder with the synthetic text in the form of Penn Treebank, so that programs of its shapes serve again."""
  folder = tmp_path / "texts"
  folder.mkdir()
  for split in ("train", "valid", "test"):
    (folder / f"ptb.{split}.txt").write_text("".join(f" {line} \n" for line in synthetic._draw_lines(split)))
  return folder


@pytest.mark.parametrize("launcher", ["search", "train"])
def test_texts_that_are_missing_or_damaged(workdir, texts, capsys, launcher):
  flags = (*PTB, f"--data.data_dir={texts}")
  said = refused(capsys, launcher, workdir, *PTB, f"--data.data_dir={texts / 'nowhere'}")
  hint = "so give the folder that does, or leave it empty"
  assert said.startswith(f"--data.data_dir is {texts / 'nowhere'}; it holds no folder 'ptb', {hint}")

  (texts / "ptb.valid.txt").write_text("the cat saw a bird\n")
  expected = "--data.sequence_length is 6; with batch size 8 a column of the validation text has 0 words, "
  expected += "so lower the sequence length or the batch size."
  assert launcher == "train" or refused(capsys, launcher, workdir, *flags) == expected
  (texts / "ptb.valid.txt").write_text("\n")
  assert refused(capsys, launcher, workdir, *flags) == f"{texts / 'ptb.valid.txt'} holds no words; give text in UTF-8."
  (texts / "ptb.valid.txt").unlink()
  assert refused(capsys, launcher, workdir, *flags).startswith(f"{texts / 'ptb.valid.txt'} is missing; get it from https://")

  train = texts / "ptb.train.txt"
  for content, said in (
    (b"", "holds no words; give text in UTF-8."),
    (b"caf\xe9 \n", "is not UTF-8 (byte 4 is 0xe9); convert it to UTF-8."),
    ("the cat\n".encode("utf-16"), "is not UTF-8 (byte 1 is 0xff); convert it to UTF-8."),
    (b"the\0cat", "is a binary file (it holds a zero byte); give plain text in UTF-8."),
  ):
    (texts / "ptb.valid.txt").touch()
    train.write_bytes(content)
    assert refused(capsys, launcher, workdir, *flags) == f"{train} {said}"


def test_a_damaged_test_text_is_found_at_the_end_and_another_vocabulary_is_no_resumption(texts, tmp_path, capsys):
  folder, test = tmp_path / "run", texts / "ptb.test.txt"
  whole, flags = test.read_text(), (*TEXT_TRAIN, *PTB, *TEXT_DATA, f"--data.data_dir={texts}", "--genotype=DARTS_V2", f"--workdir={folder}")
  test.write_bytes(b"\xff\xfe")
  assert launch("train", *flags) == 2
  assert capsys.readouterr().err == f"error: {test} is not UTF-8 (byte 1 is 0xff); convert it to UTF-8.\n"
  assert len(lines(folder / "metrics.jsonl")) == 4 and not (folder / "result.json").exists()

  train = texts / "ptb.train.txt"
  kept, before = train.read_text(), contents(folder)
  vocabulary = folder / "vocabulary.txt"
  where = 1 + vocabulary.read_text().splitlines().index("cat")
  for changed, sentence in (
    (kept.replace(" cat", " lion"), f"{vocabulary} is not the one of this run (22 lines and now 22, the first difference in line {where})"),
    (kept + "and an elephant\n", f"{vocabulary} is not the one of this run (22 lines and now 24, the first difference in line 22)"),
  ):
    train.write_text(changed)
    assert launch("train", *flags) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {sentence}") and err.count("\n") == 1
    assert err.endswith("; give the data that the run began with, or another --workdir.\n") and contents(folder) == before

  train.write_text(kept)
  test.write_text(whole)
  assert launch("train", *flags) == 0
  assert json.loads((folder / "result.json").read_text())["test/perplexity"] > 1


def test_a_search_whose_loss_is_not_finite_keeps_the_last_good_checkpoint(tmp_path, capsys):
  flags = (*TEXT_SEARCH, "--darts.learning_rate=1e30", "--darts.gradient_clip=0", "--save_every_steps=1", f"--workdir={tmp_path / 'run'}")
  assert launch("search", *flags) == 1
  err = capsys.readouterr().err
  kept = saved_steps(tmp_path / "run")
  assert err.startswith("error: the loss of step ") and err.count("\n") == 1 and "lower the learning rate or clip the gradient" in err
  assert kept and f"the last good checkpoint, of step {kept[-1]}, is kept in {tmp_path / 'run' / 'checkpoints'}" in err
  assert not (tmp_path / "run" / "result.json").exists()


def test_a_retraining_whose_loss_is_not_finite_from_the_start_says_so(tmp_path, capsys):
  flags = ("--train.learning_rate=1e30", "--train.gradient_clip=0", "--genotype=DARTS_V2", f"--workdir={tmp_path / 'run'}")
  assert launch("train", *TEXT_TRAIN, *flags) == 1
  err = capsys.readouterr().err
  assert err.startswith("error: the loss of step ") and err.count("\n") == 1 and "no checkpoint was saved before: lower the learning" in err
  assert not saved_steps(tmp_path / "run") and not (tmp_path / "run" / "result.json").exists()
