"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Map(); // element -> view

  // A file's storage may be forbidden: the choice then lasts as long as the page.
  const remember = (name) => { try { localStorage.setItem("theme", name); } catch { /* see above */ } };
  const theme = () => root.dataset.theme || (dark.matches ? "dark" : "light");

  const rows = new Map();
  function dataset(name) {
    if (!rows.has(name)) {
      const columns = Object.entries(page.datasets[name]);
      const count = columns.length ? columns[0][1].length : 0;
      rows.set(name, Array.from({ length: count }, (_, i) => {
        const row = {};
        for (const [column, values] of columns) row[column] = values[i];
        return row;
      }));
    }
    return rows.get(name).map((row) => ({ ...row })); // Vega writes into its rows
  }

  // "$blue" is the theme's blue. What lies under "values" is data, not style.
  function resolved(node, colours, names) {
    if (Array.isArray(node)) return node.map((each) => resolved(each, colours, names));
    if (typeof node === "string") return node[0] === "$" && colours[node.slice(1)] || node;
    if (node === null || typeof node !== "object") return node;
    const found = {};
    for (const [name, value] of Object.entries(node)) {
      if (name === "data" && value && typeof value.name === "string") names.add(value.name);
      found[name] = name === "values" || name === "datasets" ? value : resolved(value, colours, names);
    }
    return found;
  }

  async function draw(element, name) {
    const { colours, config } = page.themes[name];
    const { spec, large } = page.charts[element.dataset.chart];
    const names = new Set();
    const own = resolved(spec, colours, names);
    own.description = element.dataset.description;
    if (own.width === "container") own.autosize ??= { type: "fit-x", contains: "padding" };
    const kept = [...names].filter((each) => each in page.datasets);
    if (kept.length) own.datasets = { ...own.datasets, ...Object.fromEntries(kept.map((each) => [each, dataset(each)])) };
    const columns = element.clientWidth < 480 ? 2 : 0; // of a legend; 0 is one line
    drawn.get(element)?.finalize();
    const { view } = await vegaEmbed(element, own, {
      mode: "vega-lite", renderer: large ? "canvas" : "svg", actions: false, ast: true,
      config: { ...config, legend: { ...config.legend, columns } },
      defaultStyle: false, tooltip: { disableDefaultStyle: true },
    });
    drawn.set(element, view);
  }

  const plots = [...document.querySelectorAll(".plot")];
  const drawAll = (name, which = plots) => Promise.all(which.map((each) => draw(each, name)));
  const visible = (element) => !element.closest("details:not([open])");

  // Charts come as they are scrolled to; those in a fold when it is opened.
  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && !drawn.has(target)) { watch.unobserve(target); draw(target, theme()); }
    }
  }, { rootMargin: "1200px" });
  plots.forEach((each) => watch.observe(each));

  const toggle = document.getElementById("theme");
  function labelled() {
    const other = theme() === "dark" ? "light" : "dark";
    toggle.textContent = other === "dark" ? "Dark" : "Light";
    toggle.setAttribute("aria-label", `Switch to the ${other} colours`);
  }
  function retheme() { labelled(); return drawAll(theme(), [...drawn.keys()]); }
  toggle.hidden = false;
  labelled();
  toggle.addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    remember(root.dataset.theme);
    retheme();
  });
  dark.addEventListener("change", () => { if (!root.dataset.theme) retheme(); });

  // On paper: every fold open, every chart there, in light colours.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((each) => { each.open = true; });
    drawAll("light", theme() === "dark" ? plots : plots.filter((each) => !drawn.has(each)));
  });
  addEventListener("afterprint", () => {
    folded.forEach((each) => { each.open = false; });
    if (theme() === "dark") drawAll("dark", plots.filter(visible));
  });

  // Tables are sorted by a button in each heading.
  const number = (text) => { const found = /^[-+]?[\d.,]+(e[-+]?\d+)?/.exec(text); return found ? parseFloat(found[0].replaceAll(",", "")) : NaN; };
  function compare(a, b) {
    const [x, y] = [number(a), number(b)];
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
    return Number.isNaN(x) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  }
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const heads = [...table.querySelectorAll("thead th")];
    heads.forEach((head) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const rising = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", rising ? "ascending" : "descending");
        const body = table.tBodies[0], text = (row) => row.cells[head.cellIndex].textContent.trim();
        const empty = (cell) => cell === "" || cell === "-";
        body.append(...[...body.rows].sort((a, b) => {
          const [s, t] = [text(a), text(b)];
          if (empty(s) !== empty(t)) return empty(s) ? 1 : -1; // what is not known comes last either way
          return rising ? compare(s, t) : compare(t, s);
        }));
      });
    });
  }

  // The contents say where one is.
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const here = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "0px 0px -75% 0px" });
  document.querySelectorAll("main > section").forEach((each) => here.observe(each));
})();
