"use strict";
// The page can be read without this script, which adds the theme, sorting, filtering, unfolding, and charts. It never makes
// markup of text: elements are created one by one, and texts are set as texts.
(() => {
  const root = document.documentElement;
  root.classList.add("script");
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  // Theme: the system's, light, or dark.
  const themes = ["automatic", "light", "dark"];
  const button = document.getElementById("theme");
  let theme = 0;
  const setTheme = (number) => {
    theme = number < 0 ? 0 : number;
    if (theme) root.dataset.theme = themes[theme];
    else delete root.dataset.theme;
    button.querySelector("span").textContent = themes[theme];
  };
  try { setTheme(themes.indexOf(localStorage.getItem("pgdissect-theme"))); } catch { setTheme(0); }
  button.hidden = false;
  button.addEventListener("click", () => {
    setTheme((theme + 1) % themes.length);
    try { localStorage.setItem("pgdissect-theme", themes[theme]); } catch { /* Not everywhere can it be kept. */ }
  });

  // Tables: a group of rows that stay together is a body where there are several, else a row.
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const sortKey = (cell) => {
    const exact = cell.querySelector("data, time");
    if (exact) return exact.tagName === "TIME" ? exact.dateTime : Number(exact.value);
    const text = cell.textContent.trim();
    if (!cell.classList.contains("n")) return text;
    const number = Number(text.replaceAll(",", ""));
    return text === "" || Number.isNaN(number) ? -Infinity : number;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b || 0 : collator.compare(a, b));
  const isGrouped = (table) => table.classList.contains("folding");
  const groups = (table) => (isGrouped(table) ? [...table.tBodies] : [...table.tBodies[0].rows]);

  const sort = (table, column, header) => {
    const isNumber = header.classList.contains("n");
    const before = header.getAttribute("aria-sort");
    const direction = before ? (before === "ascending" ? "descending" : "ascending") : isNumber ? "descending" : "ascending";
    for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const rows = groups(table).map((group) => [sortKey((group.rows ? group.rows[0] : group).cells[column]), group]);
    rows.sort((a, b) => sign * compare(a[0], b[0]));
    const parent = isGrouped(table) ? table : table.tBodies[0];
    const last = isGrouped(table) ? table.tFoot : null;
    for (const [, group] of rows) parent.insertBefore(group, last);
  };

  // The headers of columns, from left to right: those of a second line stand where the groups of the first are.
  const columns = (table) => {
    const [first, second] = table.tHead.rows;
    let next = 0;
    return [...first.cells].flatMap((cell) => {
      if (cell.colSpan === 1) return [cell];
      next += cell.colSpan;
      return [...second.cells].slice(next - cell.colSpan, next);
    });
  };

  const addFilter = (table) => {
    // A table inside of an entry has its filter there.
    const box = table.matches(".nested") ? table : table.closest(".scroll");
    const input = make("input", { type: "search", placeholder: "Filter rows", "aria-label": `Filter: ${table.caption.textContent.trim()}`, spellcheck: "false", autocomplete: "off" });
    const found = make("output", { "aria-live": "polite" });
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      const rows = groups(table);
      for (const group of rows) {
        const text = group.textContent.toLowerCase();
        group.hidden = !words.every((word) => text.includes(word));
        shown += group.hidden ? 0 : 1;
      }
      found.textContent = words.length ? `${shown} of ${rows.length}` : "";
    });
    const tools = make("div", { class: "tools" }, input, found);
    box.before(tools);
    return tools;
  };

  for (const table of all("table.data")) {
    if (table.matches(".bins, .plain")) continue;
    columns(table).forEach((header, index) => {
      if (header.classList.contains("x") || !header.textContent.trim()) return;
      const label = make("button", { type: "button" }, ...header.childNodes);
      header.append(label);
      label.addEventListener("click", () => sort(table, index, header));
    });
    if (table.id === "statement-table" || groups(table).length > 5) table.tools = addFilter(table);
  }

  // Statements, requests and errors: the entry of each is below its row, and can be folded.
  const fold = (body, isOpen) => {
    body.rows[1].hidden = !isOpen;
    body.querySelector(".fold").setAttribute("aria-expanded", String(isOpen));
  };
  let entries = 0;
  for (const table of all("table.folding")) {
    for (const body of table.tBodies) {
      const [row, entry] = body.rows;
      entry.id = `entry-${++entries}`;
      const toggle = make("button", { type: "button", class: "fold", "aria-controls": entry.id, "aria-label": `Details of ${row.cells[0].textContent.trim().slice(0, 80)}` });
      row.cells[0].prepend(toggle);
      fold(body, false);
      row.addEventListener("click", (event) => {
        if (!event.target.closest("a, summary") && (String(getSelection()) === "" || event.target === toggle)) fold(body, entry.hidden);
      });
    }
  }
  const statements = document.getElementById("statement-table");
  if (statements) {
    const every = make("button", { type: "button", class: "tool" }, "Unfold all");
    every.addEventListener("click", () => {
      const isOpen = [...statements.tBodies].some((body) => body.rows[1].hidden);
      for (const body of statements.tBodies) fold(body, isOpen);
      every.textContent = isOpen ? "Fold all" : "Unfold all";
    });
    statements.tools.append(every);
  }

  // A link to a row unfolds it, shows it even if it is filtered out, and marks it.
  const reveal = () => {
    for (const other of all(".found")) other.classList.remove("found");
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target?.tagName !== "TBODY") return;
    target.hidden = false;
    target.classList.add("found");
    fold(target, true);
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);

  // SQL: keywords, strings and comments have colors, and a button copies it.
  const KEYWORDS = new Set(("ADD ALL ALTER ANALYZE AND ANY AS ASC BEGIN BETWEEN BY CASCADE CASE CAST COALESCE COLUMN COMMIT CONFLICT CONSTRAINT COPY COUNT " +
    "CREATE CROSS DATABASE DEFAULT DELETE DESC DISTINCT DO DROP ELSE END EXCEPT EXECUTE EXISTS EXPLAIN FALSE FETCH FOR FOREIGN FROM FULL FUNCTION GRANT GROUP " +
    "HAVING ILIKE IN INDEX INNER INSERT INTERSECT INTO IS JOIN KEY LATERAL LEFT LIKE LIMIT LOCK NOT NOTHING NULL OFFSET ON OR ORDER OUTER OVER PARTITION PRIMARY " +
    "REFERENCES RETURNING REVOKE RIGHT ROLE ROLLBACK SAVEPOINT SCHEMA SELECT SET SHARE SHOW START STDIN STDOUT TABLE THEN TO TRANSACTION TRUNCATE TRUE UNION UNIQUE " +
    "UPDATE USER USING VACUUM VALUES VIEW WHEN WHERE WITH").split(" "));
  const TOKENS = /(--[^\n]*|\/\*[^]*?\*\/)|('(?:[^']|'')*')|("(?:[^"]|"")*")|([A-Za-z_][\w$]*)/g;
  const color = (node) => {
    const text = node.data;
    const parts = [];
    let end = 0;
    for (const match of text.matchAll(TOKENS)) {
      const kind = match[1] ? "c" : match[2] ? "s" : match[4] && KEYWORDS.has(match[4].toUpperCase()) ? "k" : "";
      if (!kind) continue;
      parts.push(text.slice(end, match.index), make("span", { class: kind }, match[0]));
      end = match.index + match[0].length;
    }
    if (parts.length) node.replaceWith(...parts, text.slice(end));
  };
  const copy = async (pre, label) => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      label.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(pre);
      label.textContent = "Selected";
    }
    setTimeout(() => { label.textContent = "Copy"; }, 1500);
  };
  for (const pre of all("pre.source")) {
    if (pre.textContent.length < 20_000) [...pre.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).forEach(color);
    const label = make("button", { type: "button", class: "tool copy", "aria-label": "Copy SQL" }, "Copy");
    label.addEventListener("click", () => copy(pre, label));
    const code = make("div", { class: "code" });
    pre.replaceWith(code);
    code.append(pre, label);
  }

  // What does not scroll need not be reached with the keyboard.
  const boxes = all(".scroll");
  const fit = () => {
    for (const scroller of boxes) {
      if (scroller.scrollWidth > scroller.clientWidth) scroller.tabIndex = 0;
      else scroller.removeAttribute("tabindex");
    }
  };
  fit();
  addEventListener("resize", fit);

  // The section that is read is marked in the navigation.
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const headings = all("main h2").filter((heading) => links.has(heading.id));
  const mark = () => {
    const last = headings.filter((heading) => heading.getBoundingClientRect().top < 120).pop() ?? headings[0];
    for (const [id, link] of links) {
      if (id === last?.id) link.setAttribute("aria-current", "location");
      else link.removeAttribute("aria-current");
    }
  };
  let isMarking = false;
  addEventListener("scroll", () => {
    if (isMarking) return;
    isMarking = true;
    requestAnimationFrame(() => { isMarking = false; mark(); });
  }, { passive: true });
  mark();

  // ---- Charts ----
  const data = JSON.parse(document.getElementById("chart-data").textContent);
  const box = document.getElementById("charts");
  const length = data.requests.length;
  const seconds = data.bucket_us / 1e6;
  const short = (value) => (value === 0 ? "0" : value < 10 ? String(Number(value.toPrecision(2))) : value < 1e3 ? String(Math.round(value)) :
    value < 1e6 ? `${Number((value / 1e3).toPrecision(3))} k` : `${Number((value / 1e6).toPrecision(3))} M`);
  const exact = (value) => value.toLocaleString("en-US");
  const duration = (us) => (us < 1e3 ? `${Number(us.toPrecision(3))} µs` : us < 999.5e3 ? `${Number((us / 1e3).toPrecision(3))} ms` :
    us < 6e7 ? `${Number((us / 1e6).toPrecision(3))} s` : us < 3.6e9 ? `${Number((us / 6e7).toPrecision(3))} min` : `${Number((us / 3.6e9).toPrecision(3))} h`);
  const size = (bytes) => {
    let unit = 0;
    for (; bytes >= 999.5 && unit < 6; unit++) bytes /= 1024;
    return `${Number(bytes.toPrecision(3))} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][unit]}`;
  };
  // An instant in UTC, with as many digits as the width of a bucket asks for.
  const clock = (index, isWhole = false) => {
    const text = new Date(data.start_ms + index * data.bucket_us / 1e3).toISOString();
    const digits = data.bucket_us >= 1e6 ? 19 : 23;
    return isWhole ? text.slice(0, digits).replace("T", " ") : text.slice(11, digits);
  };

  const rates = (values) => values.map((value) => value / seconds);
  const gaps = (values) => values.map((value, index) => (data.timed[index] ? Math.max(value, 1) : null));
  const times = (values) => (index) => (data.timed[index] ? duration(values[index]) : "none");
  const charts = [
    { name: "Requests a second", kind: "bars", height: 115, format: short, series: [["Requests", 0, rates(data.requests), (i) => `${exact(data.requests[i])} (${short(data.requests[i] / seconds)}/s)`]] },
    { name: "Latency", kind: "log", height: 145, format: duration, series: [
      ["max", 3, gaps(data.max_us), times(data.max_us)], ["p99", 1, gaps(data.p99_us), times(data.p99_us)],
      ["p95", 2, gaps(data.p95_us), times(data.p95_us)], ["p50", 0, gaps(data.p50_us), times(data.p50_us)]] },
    { name: "Latency heat map", kind: "heat", height: 150, format: duration, series: [] },
    { name: "Errors", kind: "bars", height: 90, format: short, isCount: true, series: [["Errors", 1, data.errors]] },
    { name: "Connects", kind: "bars", height: 90, format: short, isCount: true, series: [["Connects", 3, data.connects]] },
    { name: "Bytes a second", kind: "lines", height: 115, format: size, series: [
      ["From clients", 4, rates(data.bytes_in), (i) => `${size(data.bytes_in[i])}`], ["To clients", 0, rates(data.bytes_out), (i) => `${size(data.bytes_out[i])}`]] },
  ];

  const SVG = "http://www.w3.org/2000/svg";
  const draw = (parent, name, attributes, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  };
  // What all charts share: which buckets are seen, and where the cursor is.
  const view = { from: 0, to: length, at: null };
  const LEFT = 62, RIGHT = 8, TOP = 8, BOTTOM = 20;

  const steps = (most) => {
    const raw = most / 4;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power;
    return Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step);
  };
  // On an axis of bytes, steps are powers of two, so that they are round in KiB and MiB.
  const byteSteps = (most) => {
    const step = 2 ** Math.max(0, Math.ceil(Math.log2(most / 4)));
    return Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step);
  };
  const powers = (least, most) => {
    const list = [];
    for (let value = 10 ** Math.floor(Math.log10(least)); value <= most * 1.001; value *= 10) if (value >= least * 0.999) list.push(value);
    const every = Math.ceil(list.length / 5);
    return list.filter((_, index) => index % every === 0);
  };

  const scaleOf = (chart, height) => {
    const plot = height - TOP - BOTTOM;
    if (chart.kind === "heat") {
      const rows = data.rows_us.length;
      // Two rows for each factor of two, as the summary has them.
      const position = (us) => { const octave = Math.floor(Math.log2(us + 1)); return 2 * (octave + (us + 1) / 2 ** octave - 1); };
      const place = (us) => TOP + plot - (position(us) - position(data.rows_us[0]) + 1) * plot / rows;
      return { place, ticks: powers(Math.max(data.rows_us[0], 1), data.rows_us[rows - 1]), row: plot / rows };
    }
    const values = chart.series.flatMap(([, , list]) => list.slice(view.from, view.to)).filter((value) => value !== null);
    const most = values.reduce((a, b) => Math.max(a, b), 0);
    if (chart.kind === "log") {
      const least = 10 ** Math.floor(Math.log10(values.reduce((a, b) => Math.min(a, b), most || 1)));
      const top = Math.max(most, least * 10);
      const place = (us) => TOP + plot * (1 - Math.log10(us / least) / Math.log10(top / least));
      return { place, ticks: powers(least, top) };
    }
    const top = (most || 1) * 1.05;
    const ticks = chart.format === size ? byteSteps(top) : steps(chart.isCount ? Math.max(top, 3) : top);
    return { place: (value) => TOP + plot * (1 - value / Math.max(top, chart.isCount ? 3 : 0)), ticks };
  };

  const render = (chart) => {
    const width = Math.max(chart.svg.clientWidth || box.clientWidth, 240);
    const { svg, height } = chart;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    svg.replaceChildren();
    const shown = view.to - view.from;
    const step = (width - LEFT - RIGHT) / shown;
    const x = (index) => LEFT + (index - view.from) * step;
    const { place, ticks, row } = scaleOf(chart, height);
    for (const tick of ticks) {
      const y = Math.round(place(tick)) + .5;
      draw(svg, "path", { class: "grid", d: `M${LEFT} ${y}H${width - RIGHT}` });
      draw(svg, "text", { x: LEFT - 6, y: y + 3.5, "text-anchor": "end" }, chart.format(tick));
    }
    if (chart.kind === "heat") {
      let most = 1;
      for (let i = view.from; i < view.to; i++) for (let c = 1; c < data.heat[i].length; c += 2) most = Math.max(most, data.heat[i][c]);
      for (let i = view.from; i < view.to; i++) {
        for (let c = 0; c < data.heat[i].length; c += 2) {
          // The logarithm, so that the few slow ones are seen beside the many fast ones.
          const strength = .15 + .85 * Math.log1p(data.heat[i][c + 1]) / Math.log1p(most);
          draw(svg, "rect", { class: "bars c0", x: x(i).toFixed(2), y: (height - BOTTOM - (data.heat[i][c] + 1) * row).toFixed(2), width: (step + .3).toFixed(2), height: (row + .3).toFixed(2), opacity: strength.toFixed(2) });
        }
      }
    } else if (chart.kind === "bars") {
      for (const [, number, values] of chart.series) {
        let d = "";
        const gap = step > 4 ? 1 : 0;
        for (let i = view.from; i < view.to; i++) {
          if (values[i]) d += `M${x(i).toFixed(2)} ${height - BOTTOM}V${Math.min(place(values[i]), height - BOTTOM - 1).toFixed(1)}h${Math.max(step - gap, .5).toFixed(2)}V${height - BOTTOM}z`;
        }
        draw(svg, "path", { class: `bars c${number}`, d });
      }
    } else {
      for (const [, number, values] of chart.series) {
        let d = "", isDown = false, begin = 0, area = "";
        for (let i = view.from; i < view.to; i++) {
          if (values[i] === null) { isDown = false; continue; }
          const [left, y] = [x(i + .5).toFixed(1), place(values[i]).toFixed(1)];
          if (!isDown) begin = left;
          d += `${isDown ? "L" : "M"}${left} ${y}`;
          // A point with no neighbour is a short line of its own.
          if (!isDown && (i + 1 >= view.to || values[i + 1] === null)) d += "m-2 0h4";
          area += isDown ? `L${left} ${y}` : `M${left} ${height - BOTTOM}L${left} ${y}`;
          isDown = true;
          if (i + 1 >= view.to || values[i + 1] === null) area += `L${left} ${height - BOTTOM}L${begin} ${height - BOTTOM}z`;
        }
        if (chart.kind === "lines") draw(svg, "path", { class: `area c${number}`, d: area });
        draw(svg, "path", { class: `stroke c${number}`, d });
      }
    }
    const every = Math.ceil(shown / Math.max(1, Math.floor((width - LEFT) / 110)));
    for (let index = view.from; x(index) < width - 70; index += every) draw(svg, "text", { x: x(index), y: height - 5 }, clock(index));
    chart.overlay = draw(svg, "g", {});
    renderCursor(chart, x, step, height);
    Object.assign(chart, { x, step, rowHeight: row });
  };

  const describeHeat = (chart, index) => {
    const cells = data.heat[index];
    const at = cells.findIndex((row, place) => place % 2 === 0 && row === chart.row);
    const row = chart.row >= 0 && chart.row < data.rows_us.length ? [[`Up to ${duration(data.rows_us[chart.row])}`, 0, exact(at < 0 ? 0 : cells[at + 1])]] : [];
    return [...row, ["Requests with a time", 0, exact(data.timed[index])]];
  };
  const describe = (chart, index) => (chart.kind === "heat" ? describeHeat(chart, index) :
    chart.series.map(([name, number, values, format]) => [name, number, format ? format(index) : exact(values[index])]));

  const renderCursor = (chart, x, step, height) => {
    chart.overlay.replaceChildren();
    const items = view.at === null ? (chart.kind === "heat" ? [["the stronger, the more requests", 0]] : chart.series.map(([name, number]) => [name, number])) : describe(chart, view.at);
    chart.legend.replaceChildren(...(view.at === null ? [] : [make("span", {}, clock(view.at, true))]),
      ...items.map(([name, number, value]) => make("span", {}, make("i", { class: `c${number}` }), `${name} `, make("b", {}, value ?? ""))));
    if (view.at !== null && view.at >= view.from && view.at < view.to) {
      const middle = x(view.at + .5).toFixed(1);
      draw(chart.overlay, "path", { class: "cursor", d: `M${middle} ${TOP}V${height - BOTTOM}` });
      if (chart.drag) {
        const [a, b] = [Math.min(chart.drag.from, view.at), Math.max(chart.drag.from, view.at)];
        draw(chart.overlay, "rect", { class: "range", x: x(a), y: TOP, width: (b - a + 1) * step, height: height - TOP - BOTTOM });
      }
      chart.svg.setAttribute("aria-valuenow", view.at);
      chart.svg.setAttribute("aria-valuetext", `${clock(view.at, true)} UTC: ${items.map(([name, , value]) => `${name} ${value}`).join(", ")}`);
    }
  };
  const renderCursors = () => { for (const chart of charts) renderCursor(chart, chart.x, chart.step, chart.height); };
  const renderAll = () => {
    for (const chart of charts) render(chart);
    reset.hidden = view.from === 0 && view.to === length;
  };
  const zoom = (from, to) => {
    view.from = Math.max(0, Math.min(from, length - 1));
    view.to = Math.min(length, Math.max(to, view.from + 1));
    renderAll();
  };
  const reset = make("button", { type: "button", class: "tool", hidden: "" }, "Show all");
  reset.addEventListener("click", () => zoom(0, length));

  const indexAt = (chart, event) => {
    const place = event.clientX - chart.svg.getBoundingClientRect().left;
    return Math.max(view.from, Math.min(view.to - 1, view.from + Math.floor((place - LEFT) / chart.step)));
  };
  const zoomBy = (factor) => {
    const middle = view.at ?? (view.from + view.to) / 2;
    const shown = Math.max(2, Math.round((view.to - view.from) * factor));
    const from = Math.max(0, Math.min(Math.round(middle - shown / 2), length - shown));
    zoom(from, from + shown);
  };
  const keys = {
    ArrowLeft: () => { view.at = Math.max(0, (view.at ?? view.to) - 1); },
    ArrowRight: () => { view.at = Math.min(length - 1, (view.at ?? view.from - 1) + 1); },
    Home: () => { view.at = 0; },
    End: () => { view.at = length - 1; },
    "+": () => zoomBy(.5),
    "=": () => zoomBy(.5),
    "-": () => zoomBy(2),
    Escape: () => zoom(0, length),
  };
  const listen = (chart) => {
    const { svg } = chart;
    svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      svg.setPointerCapture(event.pointerId);
      view.at = indexAt(chart, event);
      chart.drag = { from: view.at };
      renderCursors();
    });
    svg.addEventListener("pointermove", (event) => {
      view.at = indexAt(chart, event);
      chart.row = Math.floor((chart.height - BOTTOM - event.clientY + svg.getBoundingClientRect().top) / chart.rowHeight);
      renderCursors();
    });
    svg.addEventListener("pointerup", () => {
      const { drag } = chart;
      chart.drag = null;
      if (drag && drag.from !== view.at) zoom(Math.min(drag.from, view.at), Math.max(drag.from, view.at) + 1);
    });
    svg.addEventListener("pointercancel", () => { chart.drag = null; });
    svg.addEventListener("pointerleave", () => {
      if (chart.drag) return;
      view.at = null;
      chart.row = -1;
      renderCursors();
    });
    svg.addEventListener("dblclick", () => zoom(0, length));
    svg.addEventListener("keydown", (event) => {
      const key = keys[event.key];
      if (!key || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      key();
      if (view.at !== null && (view.at < view.from || view.at >= view.to)) {
        const shown = view.to - view.from;
        const from = Math.max(0, Math.min(view.at < view.from ? view.at : view.at - shown + 1, length - shown));
        zoom(from, from + shown);
      } else renderCursors();
    });
  };

  if (box && length > 0) {
    const buttons = [["Zoom in", .5], ["Zoom out", 2]].map(([label, factor]) => {
      const zoomer = make("button", { type: "button", class: "tool" }, label);
      zoomer.addEventListener("click", () => zoomBy(factor));
      return zoomer;
    });
    box.append(make("div", { class: "tools" }, ...buttons, reset));
    for (const chart of charts) {
      if (chart.kind === "heat" && !data.rows_us.length) continue;
      chart.svg = document.createElementNS(SVG, "svg");
      const label = `${chart.name} over time; the table below has the figures`;
      for (const [key, value] of Object.entries({ tabindex: 0, role: "slider", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": length - 1, "aria-valuenow": 0, "aria-valuetext": "whole capture" })) chart.svg.setAttribute(key, value);
      chart.legend = make("div", { class: "legend" });
      box.append(make("div", { class: "chart" }, make("div", { class: "chart-head" }, make("h3", {}, chart.name), chart.legend), chart.svg));
      listen(chart);
    }
    charts.splice(0, charts.length, ...charts.filter((chart) => chart.svg));
    renderAll();
    let width = box.clientWidth;
    new ResizeObserver(() => {
      if (box.clientWidth === width) return;
      width = box.clientWidth;
      renderAll();
    }).observe(box);
  }
  reveal();
})();
