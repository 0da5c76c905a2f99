"""The pages in a browser: no error, no network, what moves, and no sideways scroll. Skipped where there is no Chromium."""

import json
import shutil

import numpy as np
import pytest
from pages_made import comparison, tuning

from dnas.report import comparison as comparisons
from dnas.report.pages import html
from dnas.report.pages import run as run_pages
from dnas.report.pages.comparison import comparison_page
from dnas.report.pages.tuning import tuning_page
from dnas.report.runs import load_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; install one, for instance Debian's package chromium")


@pytest.fixture(scope="module")
def browser():
  with playwright.sync_playwright() as started:
    found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    yield found
    found.close()


@pytest.fixture
def opened(browser):
  """Opens a page, and checks at the end that nothing went wrong on it and nothing came from a network."""
  wrong, contexts = [], []

  def open_page(page, folder, width=1100, scheme="light"):
    path = html.save(page, folder)
    contexts.append(browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme))
    tab = contexts[-1].new_page()
    tab.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("request", lambda request: request.url.startswith("http") and wrong.append(request.url))
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready=true]", timeout=60_000)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    return tab

  yield open_page
  for context in contexts:
    context.close()
  assert wrong == []


@pytest.fixture
def search(write_run, darts):
  folder = write_run(darts, epochs=5)
  return run_pages.search_page(load_run(folder), run_pages.About(darts, command="dnas search " + 40 * "--long.flag=value ")), folder


def test_the_slider_moves_drawing_weights_and_notation_together(opened, search):
  tab = opened(*search)
  slider = tab.locator("input[type=range]")

  def shown():
    first = tab.locator(".panel").first
    weights = tab.evaluate("JSON.stringify(document.querySelector('.weights').data[0].z)")
    return first.locator(".drawing").inner_html(), weights, tab.locator(".notation").inner_text(), tab.locator("output").inner_text()

  last = shown()
  assert last[3] == "5" and slider.get_attribute("aria-valuetext") == "epoch 5" and "<svg" in last[0]
  slider.focus()
  slider.press("ArrowLeft")  # the keyboard is enough
  tab.wait_for_function("document.querySelector('output').textContent === '4'")
  moved = shown()
  assert all(before != after for before, after in zip(last, moved, strict=True))
  slider.press("ArrowRight")
  tab.wait_for_function("document.querySelector('output').textContent === '5'")
  assert shown() == last


def test_a_curve_has_its_values_under_the_pointer(opened, search):
  tab = opened(*search)
  tab.locator(".plot .nsewdrag").first.hover()
  tab.wait_for_selector(".hoverlayer .legendtext, .hoverlayer text")
  assert "training" in tab.locator(".plot").first.locator(".hoverlayer").text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_switch_turns_light_into_dark_and_back(opened, search, scheme):
  tab = opened(*search, scheme=scheme)

  def colours():
    drawn = "getComputedStyle(document.querySelector('.plot .scatterlayer .js-line')).stroke"
    return [tab.evaluate(one) for one in ("getComputedStyle(document.body).backgroundColor", drawn)]

  before, button = colours(), tab.locator("#theme")
  assert button.inner_text() == ("Dark" if scheme == "light" else "Light")
  button.click()
  after = colours()
  assert all(one != other for one, other in zip(before, after, strict=True))
  button.click()
  assert colours() == before


@pytest.mark.parametrize("kind", ["search", "training", "comparison", "tuning"])
def test_a_narrow_page_does_not_scroll_sideways(opened, write_run, darts, tmp_path, kind):
  if kind in ("search", "training"):
    folder = write_run(darts, epochs=3, launcher="search" if kind == "search" else "train")
    (folder / "genotype.json").write_text(darts.sample(np.random.default_rng(0)).to_json())
    make = run_pages.search_page if kind == "search" else run_pages.training_page
    opened(make(load_run(folder), run_pages.About(darts, command=60 * "x")), folder, width=400)
  elif kind == "comparison":
    root = comparison(tmp_path / ("compared" * 12))
    opened(comparison_page(root, comparisons.load(root), "dnas compare"), root, width=400)
  else:
    folder = tuning(tmp_path / "tuned")
    opened(tuning_page(folder, "dnas tune", []), folder, width=400)


def test_a_table_sorts_by_numbers_and_by_the_keyboard(opened, tmp_path):
  folder = tuning(tmp_path / "tuned")
  tab = opened(tuning_page(folder, "", []), folder)
  table = tab.locator("table", has=tab.locator("caption", has_text="4 trials"))

  def column(number):
    return [row.locator("th, td").nth(number).inner_text() for row in table.locator("tbody tr").all()]

  assert column(0) == ["0", "1", "2", "3"]
  button = table.locator("thead button", has_text="accuracy")
  button.focus()
  button.press("Enter")
  assert column(2) == ["0.5000", "0.9000", "0.9500", "–"] and table.locator("[aria-sort=ascending]").count() == 1
  button.press("Enter")
  assert column(2) == ["0.9500", "0.9000", "0.5000", "–"]  # what has no value stays below
  table.locator("thead button", has_text="learning_rate").click()
  assert column(0) == ["0", "1", "2", "3"]


def test_bands_can_be_switched_off(opened, tmp_path):
  root = comparison(tmp_path)
  tab = opened(comparison_page(root, comparisons.load(root), ""), root)
  fills = "document.querySelectorAll('.plot .scatterlayer .js-fill').length"
  assert tab.evaluate(fills) == 4  # two methods, two figures
  tab.locator("input.bands").uncheck()
  tab.wait_for_function(f"{fills} === 0")
  tab.locator("input.bands").check()
  tab.wait_for_function(f"{fills} === 4")


def test_a_browser_that_cannot_unpack_the_library_says_so(browser, search):
  page, folder = search
  tab = browser.new_page()
  tab.add_init_script("delete window.DecompressionStream")
  tab.goto(html.save(page, folder).as_uri())
  tab.wait_for_selector("#failure:not([hidden])")
  assert "cannot be drawn in this browser" in tab.locator("#failure").inner_text()
  assert tab.locator(".panel svg.cell").count() == 2 and json.loads(tab.locator("#data").text_content())["figures"]
  tab.close()
