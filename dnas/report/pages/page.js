"use strict";
// What moves on a page: figures, the slider over epochs, tables that sort, and the switch from light to dark.

const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Colours. A figure names them as the style sheet does, since they are others in the dark.

const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);

function colour(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

function coloured(value) {
  if (typeof value === "string") return value.startsWith("--") ? colour(value) : value;
  if (Array.isArray(value)) return value.map(coloured);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, coloured(one)]));
}

// Figures.

const CONFIG = { displayModeBar: false, responsive: true };
const AXIS = { gridcolor: "--grid", linecolor: "--line", zeroline: false, automargin: true, ticks: "", fixedrange: true };

function layoutOf(own) {
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: "--soft", size: 12, family: getComputedStyle(document.body).fontFamily },
    margin: { l: 44, r: 12, t: 8, b: 36 },
    hoverlabel: { bgcolor: "--raised", bordercolor: "--line", font: { color: "--ink" } },
    legend: { orientation: "h", y: -0.22, yanchor: "top", x: 0 },
    dragmode: false,
    ...own,
  };
  for (const name of Object.keys(layout).filter((one) => /^[xy]axis\d*$/.test(one))) layout[name] = { ...AXIS, ...layout[name] };
  return coloured(layout);
}

function draw(place, figure) {
  return Plotly.react(place, coloured(figure.data), layoutOf(figure.layout), CONFIG);
}

const bandsOf = (place) => all("input.bands", place.closest("section"))[0];

function drawPlot(place) {
  const figure = data.figures[Number(place.dataset.figure)];
  const bands = bandsOf(place);
  const shown = (trace) => (trace.meta === "band" && bands ? { ...trace, visible: bands.checked } : trace);
  return draw(place, { ...figure, data: figure.data.map(shown) });
}

// The slider.

function drawWeights(place, panel, index, drawing) {
  const kept = drawing < 0 ? [] : panel.kept[drawing];
  const heat = {
    type: "heatmap", z: panel.weights[index], x: panel.columns, y: panel.rows, xgap: 1, ygap: 1, zmin: 0, zmax: panel.highest,
    colorscale: [[0, "--heat-0"], [0.33, "--heat-1"], [0.66, "--heat-2"], [1, "--heat-3"]],
    text: panel.texts, texttemplate: panel.texts.length ? "%{text}" : "", hoverongaps: false,
    hovertemplate: panel.texts.length ? "%{y}: %{text}, weight %{z:.4f}<extra></extra>" : "%{y}, %{x}: weight %{z:.4f}<extra></extra>",
    colorbar: { thickness: 8, outlinewidth: 0, len: 0.9, nticks: 4 },
  };
  const marks = {
    type: "scatter", mode: "markers", x: kept.map((one) => panel.columns[one[1]]), y: kept.map((one) => panel.rows[one[0]]),
    marker: { symbol: "circle-open", size: 10, color: "--series-2", line: { width: 2 } }, hoverinfo: "skip", name: "kept",
  };
  const layout = {
    xaxis: { side: "bottom", tickangle: panel.texts.length ? 0 : -35, showgrid: false, type: "category", showticklabels: !panel.texts.length },
    yaxis: { autorange: "reversed", showgrid: false, type: "category" },
    margin: { l: 50, r: 8, t: 6, b: panel.texts.length ? 12 : 60 }, showlegend: false,
  };
  place.style.height = `${Math.max(190, 26 + (panel.texts.length ? 26 : 19) * panel.rows.length + layout.margin.b)}px`;
  return draw(place, { data: [heat, marks], layout });
}

function highestOf(weights) {
  let highest = 0;
  for (const rows of weights) for (const row of rows) for (const one of row) highest = Math.max(highest, one ?? 0);
  return highest;
}

function explorer(box) {
  const { epochs, panels, shown, said } = data.explorers[Number(box.dataset.explorer)];
  const [slider, told, notation] = [box.querySelector("input"), box.querySelector("output"), box.querySelector(".notation")];
  const places = all(".panel", box);
  panels.forEach((panel) => { panel.highest = panel.weights ? highestOf(panel.weights) : 0; });

  function show() {
    const index = Number(slider.value);
    told.textContent = epochs[index];
    slider.setAttribute("aria-valuetext", `epoch ${epochs[index]}`);
    notation.textContent = said[index];
    panels.forEach((panel, number) => {
      const drawing = shown[index][number];
      const place = places[number].querySelector(".drawing");
      if (place.dataset.shown !== String(drawing)) place.innerHTML = drawing < 0 ? "" : panel.drawings[drawing];
      place.dataset.shown = String(drawing);
      if (panel.weights) drawWeights(places[number].querySelector(".weights"), panel, index, drawing);
    });
  }

  let asked = false;
  slider.addEventListener("input", () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; show(); });
  });
  return show;
}

// Tables.

const numberOf = (text) => Number.parseFloat(text.replaceAll(",", ""));
const isNumber = (text) => /^[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( ?%)?$/.test(text) || /^more than [\d.]+$/.test(text);
const valueOf = (text) => (text.startsWith("more than") ? Number.parseFloat(text.slice(9)) + 1e-6 : numberOf(text));

function compare(one, other) {
  const [first, second] = [valueOf(one), valueOf(other)];
  if (Number.isNaN(first) !== Number.isNaN(second)) return Number.isNaN(first) ? 1 : -1;
  return Number.isNaN(first) ? one.localeCompare(other, undefined, { numeric: true }) : first - second;
}

function sortable(table) {
  const body = table.tBodies[0];
  const heads = all("thead th", table);
  heads.forEach((head, column) => {
    const cells = [...body.rows].map((row) => row.cells[column]);
    const filled = cells.map((cell) => cell.textContent.trim()).filter((text) => text !== "–" && text !== "");
    if (filled.length && filled.every(isNumber)) [head, ...cells].forEach((cell) => cell.classList.add("number"));
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent.trim();
      const empty = (row) => text(row) === "–" || text(row) === "";
      const rows = [...body.rows].sort((one, other) => {
        if (empty(one) || empty(other)) return Number(empty(one)) - Number(empty(other));
        return (falling ? -1 : 1) * compare(text(one), text(other));
      });
      body.append(...rows);
    });
  });
}

// Light and dark.

function stored(value) {
  try {
    if (value === undefined) return localStorage.getItem("dnas-theme");
    localStorage.setItem("dnas-theme", value);
  } catch { /* a browser may keep nothing for files */ }
  return null;
}

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

function theming(redraw) {
  const button = document.getElementById("theme");
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  if (["light", "dark"].includes(stored())) root.dataset.theme = stored();
  button.hidden = false;
  name();
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    stored(root.dataset.theme);
    name();
    redraw();
  });
  dark.addEventListener("change", () => { name(); redraw(); });
}

function copying(button) {
  const code = button.parentElement.querySelector("code");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // so that the keyboard copies it
      button.textContent = "Selected";
    }
  });
}

// The library is compressed.

async function loadLibrary() {
  const text = document.getElementById("library").textContent;
  if (!text) return;
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(plain).text();
  document.head.append(script);
}

async function start() {
  const redraws = [];
  theming(() => redraws.forEach((redraw) => redraw()));
  all("table.sortable").forEach(sortable);
  all("button.copy").forEach(copying);
  await loadLibrary();
  redraws.push(...all(".explorer").map(explorer), ...all(".plot").map((place) => () => drawPlot(place)));
  all("input.bands").forEach((box) => box.addEventListener("change", () => all(".plot", box.closest("section")).forEach(drawPlot)));
  await Promise.all(redraws.map((redraw) => redraw()));
  root.dataset.ready = "true";
}

start().catch((error) => {
  const place = document.getElementById("failure");
  place.textContent = `The figures cannot be drawn in this browser: ${error.message}`;
  place.hidden = false;
  console.error(error);
});
