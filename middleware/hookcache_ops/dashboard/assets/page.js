/* The page: filters choose rows, every widget is computed anew from them. */
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const POINTS = 120;
  const POINTS_SHORT = 30;
  const POINTS_RATIO = 42; // a ratio of few invocations jumps: fewer, larger sets of them can be read
  const FEWEST = 12;
  const evaluator = makeEvaluator(data);
  const $ = (id) => document.getElementById(id);
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  /* Formats ------------------------------------------------------------------------------------------------------ */
  const number = (value, digits = 2) => value.toLocaleString("en", { maximumFractionDigits: digits });
  const compact = (value) => value.toLocaleString("en", { notation: "compact", maximumFractionDigits: 2 });
  function money(value) {
    const size = Math.abs(value);
    const sign = value < 0 ? "-" : "";
    if (size >= 1000) return `${sign}$${number(size, 0)}`;
    if (size >= 0.1 || size === 0) return `${sign}$${size.toFixed(2)}`;
    return size >= 1e-4 ? `${sign}$${parseFloat(size.toPrecision(3))}` : `${sign}$${size.toFixed(Math.min(12, 1 - Math.floor(Math.log10(size))))}`;
  }
  const millis = (value) => (value < 10 ? `${number(value)} ms` : value < 1000 ? `${number(value, 0)} ms` : `${number(value / 1000)} s`);
  const percent = (value) => `${value.toFixed(1)} %`;
  const rate = (value) => (value >= 1000 ? compact(value) : value > 0 && value < 0.1 ? parseFloat(value.toPrecision(2)).toString() : number(value));
  const FORMATS = { "%": percent, USD: money, Milliseconds: millis, "per Minute": rate };
  const formatOf = (widget, line) => {
    const unit = /\((%|USD)\)$/.exec(line.label);
    return FORMATS[unit ? unit[1] : widget.axis.label] || ((value) => (value >= 1e5 ? compact(value) : number(value, 0)));
  };
  const shown = (format, value) => (value === null || value === undefined ? "–" : format(value));
  const utc = (seconds, options) => new Date(seconds * 1000).toLocaleString("en-GB", { timeZone: "UTC", ...options });
  const clock = { hour: "2-digit", minute: "2-digit", ...(data.width < 60 ? { second: "2-digit" } : {}) };
  const moment = (seconds) => utc(seconds, { day: "numeric", month: "short", ...clock });
  const toInput = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19);
  const fromInput = (text) => Date.parse(`${text}Z`) / 1000;

  /* The selection ------------------------------------------------------------------------------------------------ */
  const starts = data.rows.map((row) => row[0] * data.width);
  const whole = starts.length ? { from: starts[0], to: starts[starts.length - 1] + data.width } : { from: 0, to: data.width };
  const state = { ...whole, step: "", function: "" };
  let unknown = false; // no unit of the selection has a price: of its amounts, only the cache's own cost is known
  const inPeriod = (start, width) => start + width > state.from && start < state.to;
  const chosen = (step, fn) => (!state.step || data.steps[step] === state.step) && (!state.function || data.functions[fn] === state.function);
  const selectedRows = () => data.rows.filter((row) => inPeriod(row[0] * data.width, data.width) && chosen(row[1], row[2]));

  /* Colours ------------------------------------------------------------------------------------------------------ */
  const THEMES = ["system", "light", "dark"];
  const system = matchMedia("(prefers-color-scheme: dark)");
  let theme = "system";
  const isDark = () => (theme === "system" ? system.matches : theme === "dark");
  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  function lineColor(hex) {
    const parts = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const lighter = isDark() ? parts.map((part) => Math.round(part + (255 - part) * 0.32)) : parts;
    return `rgb(${lighter.join(" ")})`;
  }
  const DASHES = [[], [], [5, 3], [2, 2], [9, 3, 2, 3], [1, 3]];

  /* Widgets ------------------------------------------------------------------------------------------------------ */
  const drawn = [];

  function card(widget, at, kind) {
    const [x, , width] = widget.place;
    const element = make("section", { class: `card ${kind}`, "aria-labelledby": `w${at}` });
    element.style.gridColumn = `${x + 1} / span ${width}`;
    const when = make("span", { class: "when" });
    element.append(make("header", {}, make("h2", { id: `w${at}` }, widget.title), when));
    $("widgets").append(element);
    return { element, when };
  }

  function textWidget(widget) {
    const element = make("section", { class: "card text" });
    element.style.gridColumn = "1 / -1";
    const names = data.functions.join(", ") || "no function";
    for (const paragraph of widget.markdown.replaceAll("${FunctionName}", names).split("\n")) {
      const heading = paragraph.startsWith("#");
      const block = make(heading ? "h2" : "p");
      paragraph.replace(/^#+\s*/, "").split(/(\*[^*]+\*|`[^`]+`)/).forEach((part) => {
        const tag = { "*": "em", "`": "code" }[part[0]];
        block.append(tag && part.length > 2 ? make(tag, {}, part.slice(1, -1)) : part);
      });
      element.append(block);
    }
    $("widgets").append(element);
  }

  /* No price is never 0: an amount at prices that nobody knows is no value. */
  const AT_PRICES = ["Cost", "SavedCost"];
  const atPrices = (widget, line) =>
    line.tree === undefined ? AT_PRICES.includes(line.metric) : references(line.tree).some((id) => atPrices(widget, widget.lines.find((one) => one.id === id)));
  const noPrice = (widget, line) => unknown && atPrices(widget, line);
  const told = (widget, line, value) => (noPrice(widget, line) ? "no price" : shown(formatOf(widget, line), value));

  function evaluated(widget, ...selection) {
    const known = evaluator.lines(widget, ...selection);
    for (const line of widget.lines) if (noPrice(widget, line)) known.set(line.id, known.get(line.id).map(() => null));
    return known;
  }

  const overall = (widget, rows) => evaluated(widget, rows, () => 0, 1, state.to - state.from);

  function tileWidget(widget, at) {
    const { element } = card(widget, at, "tile");
    const lines = widget.lines.filter((line) => line.visible);
    const values = lines.map((line) => {
      const value = make("div", { class: "value" });
      element.append(value, make("div", { class: "label" }, line.label));
      return value;
    });
    return (rows) => {
      const known = overall(widget, rows);
      lines.forEach((line, i) => (values[i].textContent = told(widget, line, known.get(line.id)[0])));
      widget.now = Object.fromEntries(lines.map((line) => [line.label, known.get(line.id)[0]]));
    };
  }

  /* The widget's own period, unless that gives more points than can be seen, or, of a short log, hardly any. */
  function buckets(widget) {
    const span = state.to - state.from;
    const short = span / widget.period < FEWEST;
    const least = Math.max(data.width, short ? 0 : widget.period);
    const width = data.widths.find((one) => one >= least && span / one <= (short ? POINTS_SHORT : widget.axis.label === "%" ? POINTS_RATIO : POINTS)) || data.widths[data.widths.length - 1];
    const first = Math.floor(state.from / width);
    const length = Math.max(1, Math.ceil(state.to / width) - first);
    return { width, first, length, times: Array.from({ length }, (_, i) => (first + i) * width) };
  }

  function swatch(color, dash, solid) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("width", "18");
    svg.setAttribute("height", "10");
    svg.setAttribute("aria-hidden", "true");
    const mark = document.createElementNS(space, solid ? "rect" : "line");
    const attributes = solid
      ? { x: 3, y: 0, width: 10, height: 10, rx: 2, fill: color }
      : { x1: 0, y1: 5, x2: 18, y2: 5, stroke: color, "stroke-width": 2.5, "stroke-dasharray": dash.join(" ") };
    for (const [name, value] of Object.entries(attributes)) mark.setAttribute(name, value);
    svg.append(mark);
    return svg;
  }

  function chartWidget(widget, at) {
    const { element, when } = card(widget, at, "chart");
    const plot = make("div", { class: "plot", tabindex: "0", role: "img" });
    const legend = make("ul", { class: "legend" });
    const details = make("details", {}, make("summary", {}, "Data table"));
    element.append(plot, legend, details);
    const lines = widget.lines.filter((line) => line.visible);
    const stacked = widget.view === "stacked";
    let chart = null;
    let now = null;

    function values(index) {
      lines.forEach((line, i) => {
        const value = index === null ? now.overall.get(line.id)[0] : now.series[i][index];
        now.labels[i].textContent = told(widget, line, value);
      });
      when.textContent = index === null ? "whole selection" : moment(now.times[index]);
    }

    function speak(index) {
      const amounts = lines.map((line, i) => `${line.label} ${told(widget, line, now.series[i][index])}`);
      $("said").textContent = `${widget.title}, ${moment(now.times[index])}: ${amounts.join(", ")}`;
    }

    function drawThresholds(u) {
      for (const [, value] of widget.thresholds) {
        const y = u.valToPos(value, "y", true);
        if (y < u.bbox.top) continue;
        u.ctx.save();
        u.ctx.strokeStyle = lineColor("#d13438");
        u.ctx.setLineDash([6, 4]);
        u.ctx.beginPath();
        u.ctx.moveTo(u.bbox.left, y);
        u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
        u.ctx.stroke();
        u.ctx.restore();
      }
    }

    /* Values with none beside them: no line shows them, and a quiet function's charts would be empty. */
    function alone(u, series, all) {
      const values = u.data[series];
      return all ? null : [...values.keys()].filter((i) => values[i] != null && values[i - 1] == null && values[i + 1] == null);
    }

    function options(width) {
      const axis = { stroke: ink("--soft"), grid: { stroke: ink("--grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui,sans-serif" };
      const format = formatOf(widget, { label: "" });
      const top = widget.axis.max;
      const series = lines.map((line, i) => ({
        label: line.label,
        stroke: lineColor(line.color || "#2f6fde"),
        width: stacked ? 0 : 1.75,
        dash: stacked ? [] : DASHES[i % DASHES.length],
        fill: stacked ? lineColor(line.color || "#2f6fde") : undefined,
        paths: stacked ? uPlot.paths.bars({ size: [0.86, 48] }) : undefined,
        points: stacked ? { show: false } : { size: 5, fill: ink("--card"), filter: alone, ...(now.times.length <= 48 ? { show: true } : {}) },
      }));
      return {
        width,
        height: 200,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        legend: { show: false },
        cursor: { sync: { key: "page" }, drag: { x: true, y: false }, points: { size: stacked ? 0 : 7 }, y: false },
        scales: {
          x: { time: true, range: (_u, low, high) => [low - now.width / 2, high + now.width / 2] },
          y: {
            range: (_u, low, high) => {
              const bottom = widget.axis.min === 0 ? 0 : Math.min(0, low ?? 0) * 1.1;
              return [bottom, top ?? ((high ?? 0) > bottom ? high * 1.08 : bottom + 1)];
            },
          },
        },
        axes: [
          { ...axis, space: 70, size: 40, values: timeLabels },
          { ...axis, size: roomFor, values: (_u, ticks) => ticks.map((tick) => format(tick)) },
        ],
        series: [{}, ...(stacked ? series.reverse() : series)],
        hooks: {
          setCursor: [(u) => values(u.cursor.idx ?? null)],
          setSelect: [(u) => zoom(u)],
          draw: [drawThresholds],
        },
      };
    }

    function zoom(u) {
      if (u.select.width < 5) return;
      const [from, to] = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
      u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      select({ from: Math.round(from), to: Math.round(to) });
    }

    function table() {
      if (!details.open) return;
      details.querySelector(".wide")?.remove();
      const head = make("tr", {}, make("th", { class: "name", scope: "col" }, "Time (UTC)"), ...lines.map((line) => make("th", { scope: "col" }, line.label)));
      const body = now.times.map((time, i) =>
        make(
          "tr",
          {},
          make("th", { class: "name", scope: "row" }, moment(time)),
          ...lines.map((line, s) => make("td", {}, told(widget, line, now.series[s][i]))),
        ),
      );
      details.append(make("div", { class: "wide", tabindex: "0", role: "region", "aria-labelledby": `w${at}` }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body))));
    }
    details.addEventListener("toggle", table);

    plot.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
      if (!(event.key in steps) || !chart) return;
      event.preventDefault();
      const last = now.times.length - 1;
      const from = chart.cursor.idx ?? (steps[event.key] > 0 ? -1 : last + 1);
      const index = Math.max(0, Math.min(last, from + steps[event.key]));
      chart.setCursor({ left: chart.valToPos(now.times[index], "x"), top: 10 });
      values(index);
      speak(index);
    });
    plot.addEventListener("dblclick", () => select({ ...whole }));

    return (rows) => {
      const { width, first, length, times } = buckets(widget);
      const known = evaluated(widget, rows, (row) => Math.min(length - 1, Math.max(0, Math.floor((row[0] * data.width) / width) - first)), length, width);
      const series = lines.map((line) => known.get(line.id));
      now = { width, times, series, overall: overall(widget, rows), labels: [] };
      widget.now = Object.fromEntries(lines.map((line, i) => [line.label, { times, values: series[i], overall: now.overall.get(line.id)[0] }]));
      legend.replaceChildren(
        ...lines.map((line, i) => {
          now.labels[i] = make("b");
          return make("li", {}, swatch(lineColor(line.color || "#2f6fde"), DASHES[i % DASHES.length], stacked), line.label, now.labels[i]);
        }),
        ...widget.thresholds.map(([label, value]) => make("li", {}, swatch(lineColor("#d13438"), [6, 4], false), label, make("b", {}, millis(value)))),
      );
      const amounts = lines.map((line) => `${line.label} ${told(widget, line, now.overall.get(line.id)[0])}`);
      plot.setAttribute("aria-label", `${widget.title}, over the whole selection: ${amounts.join(", ")}. Arrow keys read single times.`);
      chart?.destroy();
      plot.querySelector(".none")?.remove();
      chart = new uPlot(options(Math.max(180, plot.clientWidth)), [times, ...(stacked ? piled(series) : series)], plot);
      const none = lines.every((line) => noPrice(widget, line)) ? "No price for the units of this selection" : rows.length ? "None of these in this selection" : "Nothing in this selection";
      if (!rows.length || !series.some((one) => one.some((value) => value !== null))) plot.append(make("div", { class: "none" }, none));
      values(null);
      table();
    };
  }

  /* Bars from the floor to each running total, highest first, so that the lower ones are painted over it. */
  function piled(series) {
    const totals = Array(series[0].length).fill(0);
    return series.map((one) => one.map((value, i) => (totals[i] += value || 0))).reverse();
  }

  /** How wide an axis is for its labels: amounts of a few millionths are long. */
  function roomFor(_u, labels) {
    return Math.max(62, 16 + 6.5 * Math.max(0, ...(labels || []).map((label) => label.length)));
  }

  function timeLabels(_u, ticks) {
    const step = ticks.length > 1 ? ticks[1] - ticks[0] : 0;
    return ticks.map((tick, i) => {
      const day = utc(tick, { day: "numeric", month: "short" });
      const hour = utc(tick, { hour: "2-digit", minute: "2-digit", ...(step < 60 ? { second: "2-digit" } : {}) });
      if (step >= 86400) return day;
      return i === 0 || tick % 86400 === 0 ? `${hour}\n${day}` : hour;
    });
  }

  function tableWidget(widget, at) {
    const { element, when } = card(widget, at, "table");
    const table = make("table");
    const empty = make("p", { class: "fine" }, widget.unknown ? "Not in the metrics: this table needs receipts. Draw the page from the log, with logs:GROUP." : "None in this selection");
    element.append(make("div", { class: "wide", tabindex: "0", role: "region", "aria-labelledby": `w${at}` }, table), empty);
    /* A word may break behind an underscore, and nowhere else. */
    const breakable = (name) => String(name).split(/(?<=_)/).flatMap((part, i) => (i ? [make("wbr"), part] : [part]));
    const head = make("tr", {}, ...widget.by.map((name) => make("th", { class: "name", scope: "col" }, heading(name))), ...widget.columns.map(([, name]) => make("th", { scope: "col" }, heading(name))));
    const formats = widget.columns.map(([, name]) => (name.endsWith("_ms") ? millis : name.endsWith("_usd") ? money : (value) => number(value)));
    const cell = (i, value) => (unknown && AT_PRICES.includes(widget.columns[i][3].split(".")[0]) ? "no price" : shown(formats[i], value));

    function grouped() {
      const groups = new Map();
      for (const [group, start, step, fn, states] of widget.rows) {
        if (!inPeriod(start * widget.width, widget.width) || !chosen(step, fn)) continue;
        const key = JSON.stringify(group);
        if (!groups.has(key)) groups.set(key, { group, states: widget.columns.map(([kind]) => (kind === "pct" ? evaluator.noTimes() : kind === "avg" ? [0, 0] : null)) });
        const into = groups.get(key).states;
        widget.columns.forEach(([kind], i) => (into[i] = joined(kind, into[i], states[i])));
      }
      return [...groups.values()].map(({ group, states }) => [...group, ...widget.columns.map(([kind, , share], i) => finished(kind, states[i], share))]);
    }

    return () => {
      const sign = widget.descending ? -1 : 1;
      const rows = grouped().sort((a, b) => sign * (a[widget.sort] > b[widget.sort] ? 1 : a[widget.sort] < b[widget.sort] ? -1 : 0) || (String(a) < String(b) ? -1 : 1));
      const top = rows.slice(0, widget.limit);
      const names = widget.by.length;
      const most = Math.max(...top.map((row) => row[names] || 0), 1e-12);
      const body = top.map((row) => {
        const cells = row.slice(names).map((value, i) => make("td", i === 0 ? { class: "bar", style: `--share:${(90 * (value || 0)) / most}%` } : {}, cell(i, value)));
        return make("tr", {}, ...row.slice(0, names).map((name) => make("td", { class: "name" }, ...breakable(name))), ...cells);
      });
      table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
      table.hidden = !top.length;
      empty.hidden = !!top.length;
      const notes = [];
      if (widget.width > data.width) notes.push(`times to ${number(widget.width / 60)} min`);
      if (widget.uncertain) notes.push(`counts may be ${number(widget.uncertain)} too low`);
      when.textContent = notes.join(", ");
      widget.now = top;
    };
  }
  const heading = (name) => ({ invocations: "Invocations", average_ms: "Average", p90_ms: "p90", maximum_ms: "Maximum", saved_usd: "Saved", paid_usd: "Paid", key_id: "Page (key id)", context: "Step", error_type: "Error type" })[name] || name[0].toUpperCase() + name.slice(1);

  function joined(kind, one, other) {
    if (kind === "pct") return evaluator.mergeTimes(one, other);
    if (kind === "avg") return [one[0] + other[0], one[1] + other[1]];
    if (one === null || other === null) return one ?? other;
    return kind === "min" ? Math.min(one, other) : kind === "max" ? Math.max(one, other) : one + other;
  }
  function finished(kind, value, share) {
    if (kind === "avg") return value[1] ? value[0] / value[1] : null;
    return kind === "pct" ? evaluator.statistic(value, `p${share}`) : value;
  }

  /* Totals: the same names and sums as `hookcache report --json` ---------------------------------------------------- */
  function totals(rows) {
    const sums = Object.fromEntries(data.metrics.filter(([, unit]) => unit !== "Milliseconds").map(([name]) => [name, 0]));
    const units = [{}, {}, {}, {}];
    let receipts = 0;
    for (const row of rows) {
      receipts += row[4];
      for (const [at, value] of Object.entries(row[5])) sums[data.metrics[at][0]] += value;
      row[7].forEach((amounts, kind) => {
        for (const [unit, amount] of Object.entries(amounts)) units[kind][unit] = (units[kind][unit] || 0) + amount;
      });
    }
    const hits = sums.MemoryHits + sums.TableHits + sums.Collapsed;
    return {
      receipts,
      requests: sums.Requests,
      hits,
      hit_ratio: sums.Requests ? hits / sums.Requests : null,
      cost: sums.Cost,
      saved_cost: sums.SavedCost,
      own_cost: sums.OwnCost,
      net_savings: sums.SavedCost - sums.OwnCost,
      cost_with_cache: sums.Cost + sums.OwnCost,
      cost_without_cache: sums.Cost + sums.SavedCost,
      units_spent: units[0],
      units_saved: units[1],
      unpriced_units: units[2],
      units_charged: units[3],
      metrics: sums,
    };
  }

  /* The charge is known for the whole period only, so a selection is told without it. */
  const charged = (rows, found) =>
    data.metrics_charge === null || rows.length !== data.rows.length ? "" : `, ${money(found.net_savings - data.metrics_charge)} after CloudWatch's charge for the metrics`;

  function showTotals(rows, found) {
    const price = (amount) => (unknown ? "no price" : money(amount));
    $("headline").textContent = found.requests
      ? unknown
        ? `${number(found.hits)} of ${number(found.requests)} invocations were answered from the cache. What they would have cost without it is not known, for their units have no price: set PriceAs and PricesObject (HOOKCACHE_PRICE_AS, HOOKCACHE_PRICES).`
        : `${number(found.hits)} of ${number(found.requests)} invocations were answered from the cache. Without it they would have cost ${money(found.cost_without_cache)}; with it, ${money(found.cost_with_cache)}: net savings ${money(found.net_savings)}${charged(rows, found)} (estimate).`
      : "";
    const units = (amounts) => Object.entries(amounts).map(([unit, amount]) => `${number(amount)} ${unit}`).join(", ") || "none";
    const list = [
      ["Invocations", number(found.requests)],
      ["Answered from the cache", `${number(found.hits)} (${found.hit_ratio === null ? "–" : percent(100 * found.hit_ratio)} of all invocations)`],
      ["Cost without the cache", price(found.cost_without_cache)],
      ["Cost with the cache", price(found.cost_with_cache)],
      ["Net savings", price(found.net_savings)],
      ["Spent on the backend", price(found.cost)],
      ["Saved by hits", price(found.saved_cost)],
      ["Own cost of hookcache", money(found.own_cost)],
      ["Units spent", units(found.units_spent)],
      ["Units saved", units(found.units_saved)],
      ["Units without a price (in no amount)", units(found.unpriced_units)],
      ...(Object.keys(found.units_charged).length ? [["Charged to the host on hits, by choice", units(found.units_charged)]] : []),
      ...["MemoryHits", "TableHits", "Collapsed", "Misses", "Bypasses", "Failures", "Refusals"].map((name) => [name.replace("Hits", " hits"), number(found.metrics[name])]),
    ];
    $("totals").replaceChildren(make("tbody", {}, ...list.map(([label, value]) => make("tr", {}, make("th", { class: "name", scope: "row" }, label), make("td", {}, value)))));
  }

  /* Filters ------------------------------------------------------------------------------------------------------- */
  const RANGES = [["all", "Everything"], ["3600", "Last hour"], ["86400", "Last 24 hours"], ["604800", "Last 7 days"], ["2592000", "Last 30 days"], ["own", "Chosen dates"]].filter(
    ([seconds]) => !(Number(seconds) >= whole.to - whole.from),
  );

  function render() {
    const rows = selectedRows();
    const found = totals(rows);
    unknown = found.metrics.Unpriced > 0 && !found.cost_without_cache;
    for (const draw of drawn) draw(rows);
    showTotals(rows, found);
    $("from").value = toInput(state.from);
    $("to").value = toInput(state.to);
    $("step").value = state.step;
    $("function").value = state.function;
    $("range").value = rangeNow();
    $("period").textContent = `${utc(state.from, { dateStyle: "medium" })}, ${utc(state.from, clock)} to ${utc(state.to, { dateStyle: "medium" })}, ${utc(state.to, clock)} UTC`;
  }

  function rangeNow() {
    if (state.from === whole.from && state.to === whole.to) return "all";
    const found = RANGES.find(([seconds]) => state.to === whole.to && state.from === whole.to - Number(seconds));
    return found ? found[0] : "own";
  }

  function select(changes) {
    Object.assign(state, changes);
    const width = data.width;
    state.from = Math.max(whole.from, Math.floor(state.from / width) * width);
    state.to = Math.min(whole.to, Math.max(state.from + width, Math.ceil(state.to / width) * width));
    state.from = Math.min(state.from, state.to - width);
    render();
    $("said").textContent = `${number(totals(selectedRows()).requests)} invocations selected`;
  }

  function setTheme() {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    $("theme").textContent = { system: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[theme];
    $("theme").setAttribute("aria-label", `Colours: ${theme === "system" ? "as the system" : theme}`);
  }

  function choices(id, every, names) {
    $(id).append(new Option(every, ""), ...names.map((name) => new Option(name, name)));
    $(id).addEventListener("change", () => select({ [id]: $(id).value }));
  }

  setTheme();
  $("range").append(...RANGES.map(([value, label]) => new Option(label, value)));
  choices("step", "All steps", data.steps);
  choices("function", "All functions", data.functions);
  $("range").addEventListener("change", () => {
    const value = $("range").value;
    if (value === "own") $("from").focus();
    else select(value === "all" ? { ...whole } : { to: whole.to, from: Math.max(whole.from, whole.to - Number(value)) });
  });
  for (const id of ["from", "to"]) {
    $(id).addEventListener("change", () => {
      const seconds = fromInput($(id).value);
      if (Number.isFinite(seconds)) select({ [id]: seconds });
      else render();
    });
  }
  $("reset").addEventListener("click", () => select({ ...whole, step: "", function: "" }));
  $("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    setTheme();
    render();
  });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  system.addEventListener("change", () => {
    setTheme();
    render();
  });

  const kinds = { tiles: tileWidget, chart: chartWidget, stacked: chartWidget, table: tableWidget };
  data.widgets.forEach((widget, at) => {
    if (widget.view === "text") textWidget(widget);
    else drawn.push(kinds[widget.view](widget, at));
  });
  const reading = data.reading;
  $("reading").textContent = data.widgets.some((widget) => widget.unknown)
    ? `${number(reading.receipts)} invocations as CloudWatch counted them, in steps of ${number(data.width / 60)} min; duplicates dropped: ${reading.de_duplication}. Percentiles over several steps are approximate. Units other than tokens and pages, and units without a price, are not in the metrics.`
    : `${number(reading.receipts)} receipts from ${number(reading.lines)} lines; ${number(reading.duplicates_dropped)} duplicate lines dropped (${reading.de_duplication}).`;
  if (data.metrics_charge !== null) $("reading").textContent += ` CloudWatch charges about ${money(data.metrics_charge)} for the metrics of the whole period, in no amount above.`;
  if (data.missing) $("reading").textContent += ` ${data.missing}.`;
  render();
  let wide = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== wide) {
      wide = window.innerWidth;
      render();
    }
  });

  /* For tests and for the curious: what is on the screen, as numbers. */
  window.hookcache = { totals: () => totals(selectedRows()), widgets: () => data.widgets.map(({ title, now }) => ({ title, now })), select };
})();
