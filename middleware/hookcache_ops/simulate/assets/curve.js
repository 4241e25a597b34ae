"use strict";
(() => {
  const points = JSON.parse(document.getElementById("data").textContent).curve;
  const place = document.getElementById("curve");
  if (!points.length) {
    place.textContent = "No look-ups in this log.";
    return;
  }
  const MEBIBYTE = 1024 * 1024;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const size = (bytes) => (bytes >= 1024 ? `${+(bytes / 1024).toPrecision(3)} GiB` : `${+bytes.toPrecision(3)} MiB`);
  const share = (ratio) => (ratio == null ? "–" : `${(100 * ratio).toFixed(1)} %`);
  const data = [
    points.map((point) => point.size_bytes / MEBIBYTE),
    points.map((point) => point.miss_ratio.value),
    points.map((point) => point.unexpiring),
  ];
  let chart = null;
  const draw = () => {
    if (chart) chart.destroy();
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--grid") }, ticks: { stroke: colour("--grid") } };
    chart = new uPlot(
      {
        width: Math.max(260, place.clientWidth - 30),
        height: 320,
        legend: { show: false },
        scales: { x: { time: false, distr: 3, log: 2 }, y: { range: [0, 1] } },
        axes: [
          { ...axis, values: (_, ticks) => ticks.map((tick) => (tick == null ? "" : size(tick))) },
          { ...axis, size: 62, values: (_, ticks) => ticks.map(share) },
        ],
        series: [
          {},
          { stroke: colour("--accent"), width: 2.5, points: { show: true, size: 6 } },
          { stroke: colour("--soft"), width: 2, dash: [6, 5], points: { show: false } },
        ],
      },
      data,
      place,
    );
  };
  draw();
  let waiting = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(draw);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
