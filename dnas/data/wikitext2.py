"""WikiText-2: two million words of good Wikipedia articles, with case and punctuation; 33,278 word types, rarer ones as '<unk>'.

Source: S. Merity, C. Xiong, J. Bradbury, R. Socher, Pointer Sentinel Mixture Models, arXiv:1609.07843; licence CC BY-SA 3.0.
"""

from dnas.data import text
from dnas.data.download import Download
from dnas.data.published import Published, locate, read_lines

PUBLISHED = Published(
  "wikitext-2",
  ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
  (
    Download("https://wikitext.smerity.com/wikitext-2-v1.zip", 4475746, "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c"),
  ),
)
TOKENS = {"train": 2_088_628, "valid": 217_646, "test": 245_569}
"""Words and line ends of every split, as published."""


@text.TEXTS.register("wikitext2")
def wikitext2(data_dir: str, level: str) -> text.TextDataset:
  """Loads WikiText-2 in the published splits; a blank line is a line end alone.

  Args:
    data_dir: the folder with 'wiki.train.tokens', 'wiki.valid.tokens' and 'wiki.test.tokens', or the one around it if it is named
      'wikitext-2'; empty to download them.
    level: 'word' or 'character'; the characters of '<unk>' are characters of the text.
  """
  folder = locate(PUBLISHED, data_dir)
  return text.from_lines("wikitext2", level, lambda split: read_lines(folder / f"wiki.{split}.tokens", TOKENS[split]))
