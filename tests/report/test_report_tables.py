"""Tables in both forms."""

from dnas.report.tables import Table

TABLE = Table("a_b: 95 % of it", ("method", "test ± sd"), (("random_search", "93.7 ± 0.4"), ("x & y", "–")))


def test_markdown_has_aligned_columns():
  assert TABLE.to_markdown().splitlines() == [
    "**a_b: 95 % of it**",
    "",
    "| method        | test ± sd  |",
    "|---------------|------------|",
    "| random_search | 93.7 ± 0.4 |",
    "| x & y         | –          |",
  ]


def test_latex_escapes_what_it_must():
  text = TABLE.to_latex()
  assert r"\caption{a\_b: 95 \% of it}" in text and r"\begin{tabular}{lr}" in text
  assert r"random\_search & 93.7 $\pm$ 0.4 \\" in text and r"x \& y & -- \\" in text
  assert text.count(r"\\") == 3 and text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")
