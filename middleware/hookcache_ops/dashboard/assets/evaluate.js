/* Series from rows, and metric math over them: what metric_math.py does, for whatever the filters leave. */
"use strict";

function makeEvaluator(data) {
  const metricAt = new Map(data.metrics.map(([name, unit], at) => [name, { at, unit }]));
  const { floor, ratio } = data.histogram;

  const middle = (bin) => (bin === 0 ? 0 : (floor * ratio ** (bin - 1) * 2 * ratio) / (ratio + 1));

  /* Packed histograms are [count, sum, smallest, largest, bin, count in it, ...]. */
  function mergeTimes(into, packed) {
    into.count += packed[0];
    into.total += packed[1];
    if (packed[0]) {
      into.smallest = Math.min(into.smallest, packed[2]);
      into.largest = Math.max(into.largest, packed[3]);
    }
    for (let i = 4; i < packed.length; i += 2) into.bins.set(packed[i], (into.bins.get(packed[i]) || 0) + packed[i + 1]);
    return into;
  }
  const noTimes = () => ({ count: 0, total: 0, smallest: Infinity, largest: 0, bins: new Map() });

  function statistic(times, stat) {
    if (!times.count) return null;
    if (stat === "Average") return times.total / times.count;
    if (stat === "Maximum") return times.largest;
    if (stat === "Minimum") return times.smallest;
    const rank = Math.max(1, Math.ceil((times.count * parseFloat(stat.slice(1))) / 100));
    let seen = 0;
    for (const bin of [...times.bins.keys()].sort((a, b) => a - b)) {
      seen += times.bins.get(bin);
      if (seen >= rank) return Math.min(Math.max(middle(bin), times.smallest), times.largest);
    }
    return times.largest;
  }

  /* One value per bucket; null where no receipt carried the metric. Lean metrics are 0 wherever there is a receipt. */
  function metricSeries(line, rows, bucketOf, length) {
    const { at, unit } = metricAt.get(line.metric);
    const fits = rows.filter(
      (row) => (!line.step || data.steps[row[1]] === line.step) && (!line.function || data.functions[row[2]] === line.function),
    );
    if (unit === "Milliseconds") {
      const times = Array.from({ length }, () => null);
      for (const row of fits) {
        if (row[6][at]) mergeTimes((times[bucketOf(row)] ??= noTimes()), row[6][at]);
      }
      return times.map((one) => (one ? statistic(one, line.stat) : null));
    }
    const lean = at < data.lean;
    const sums = Array.from({ length }, () => null);
    for (const row of fits) {
      const value = row[5][at];
      if (lean || value) sums[bucketOf(row)] = (sums[bucketOf(row)] || 0) + (value || 0);
    }
    return sums;
  }

  /* All lines of a widget over `length` buckets of `period` seconds: id -> series. */
  function lines(widget, rows, bucketOf, length, period) {
    const known = new Map();
    const pending = widget.lines.filter((line) => line.tree !== undefined);
    for (const line of widget.lines) {
      if (line.tree === undefined) known.set(line.id, metricSeries(line, rows, bucketOf, length));
    }
    while (pending.length) {
      const next = pending.findIndex((line) => references(line.tree).every((id) => known.has(id)));
      const [line] = pending.splice(next, 1);
      known.set(line.id, spread(evaluate(line.tree, known, period, length), length));
    }
    return known;
  }

  return { lines, statistic, mergeTimes, noTimes };
}

function references(tree) {
  if (typeof tree !== "object") return [];
  if (tree.ref) return [tree.ref];
  return (tree.args || tree.list).flatMap(references);
}

/* As long as the others; a number that is none (NaN) is no value. */
const spread = (value, length) => (Array.isArray(value) ? value : Array(length).fill(value)).map((one) => (Number.isNaN(one) ? null : one));
const isList = (value) => Array.isArray(value) && Array.isArray(value[0]);

const OPERATORS = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => (b === 0 ? null : a / b),
  "^": (a, b) => (Number.isFinite(a ** b) ? a ** b : null),
  "<": (a, b) => +(a < b),
  ">": (a, b) => +(a > b),
  "<=": (a, b) => +(a <= b),
  ">=": (a, b) => +(a >= b),
  "==": (a, b) => +(a === b),
  "!=": (a, b) => +(a !== b),
  AND: (a, b) => +(!!a && !!b),
  OR: (a, b) => +(!!a || !!b),
};
const add = (values) => values.reduce((a, b) => a + b, 0);
const FOLDS = {
  SUM: add,
  AVG: (values) => add(values) / values.length,
  MIN: (values) => values.reduce((a, b) => Math.min(a, b)),
  MAX: (values) => values.reduce((a, b) => Math.max(a, b)),
};
const ROUND = { ABS: Math.abs, CEIL: Math.ceil, FLOOR: Math.floor };

function evaluate(tree, known, period, length) {
  if (typeof tree === "number") return tree;
  if (tree.ref) return known.get(tree.ref);
  if (tree.op) return each(OPERATORS[tree.op], ...tree.args.map((part) => evaluate(part, known, period, length)));
  if (tree.list) return tree.list.map((part) => spread(evaluate(part, known, period, length), length));
  if (tree.call === "PERIOD") return period;
  if (tree.call === "METRICS") return [...known.values()];
  const values = tree.args.map((part) => evaluate(part, known, period, length));
  return apply(tree.call, values, period, length);
}

function apply(name, values, period, length) {
  if (FOLDS[name]) return fold(FOLDS[name], values[0]);
  const first = spread(values[0], length);
  if (name === "FILL") {
    const fillers = spread(values[1], length);
    return first.map((value, at) => (value === null ? fillers[at] : value));
  }
  if (name === "IF") {
    const yes = spread(values[1], length);
    const no = values.length === 3 ? spread(values[2], length) : Array(length).fill(null);
    return first.map((test, at) => (test === null ? null : test ? yes[at] : no[at]));
  }
  if (name === "RATE") {
    return first.map((value, at) => (at === 0 || value === null || first[at - 1] === null ? null : (value - first[at - 1]) / period));
  }
  if (name === "RUNNING_SUM") {
    let total = 0;
    return first.map((value) => (total += value || 0));
  }
  return first.map((value) => (value === null ? null : ROUND[name](value)));
}

function each(step, left, right) {
  if (!Array.isArray(left) && !Array.isArray(right)) {
    const found = step(left, right);
    return found === null ? NaN : found;
  }
  const length = Array.isArray(left) ? left.length : right.length;
  const [a, b] = [left, right].map((side) => (Array.isArray(side) ? side : Array(length).fill(side)));
  return a.map((value, at) => (value === null || b[at] === null ? null : step(value, b[at])));
}

function fold(step, value) {
  if (!Array.isArray(value)) return value;
  if (!isList(value)) {
    const present = value.filter((one) => one !== null);
    return present.length ? step(present) : NaN;
  }
  return value[0].map((_, at) => {
    const present = value.map((series) => series[at]).filter((one) => one !== null);
    return present.length ? step(present) : null;
  });
}
