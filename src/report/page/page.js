"use strict";
{
  const drawn = JSON.parse(document.getElementById("data").textContent);
  const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = (digits) => (_, value) => (value == null ? "–" : value.toFixed(digits));

  // A chart in a figure, as wide as that, in the colours of the moment.
  const plot = (id, x, series) => {
    const figure = document.getElementById(id);
    const box = figure.querySelector(".live");
    figure.hidden = false;
    const axis = {
      stroke: colour("--ink"),
      grid: { stroke: colour("--faint"), width: 1 },
      ticks: { stroke: colour("--faint"), width: 1 },
      font: "13px system-ui, sans-serif",
    };
    const size = () => ({ width: Math.max(box.clientWidth, 240), height: 340 });
    const options = {
      ...size(),
      scales: { x: { time: false }, y: { range: (_, low, high) => [Math.min(low, 0), high > 0 ? high * 1.05 : 1] } },
      axes: [{ ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6] }, axis],
      series: [
        { label: x.label },
        ...series.map((line) => ({
          label: line.label,
          stroke: colour("--k" + line.colour),
          dash: line.dash ? line.dash.split(" ").map(Number) : undefined,
          width: 2,
          spanGaps: true,
          points: { show: x.values.length <= 30, size: 6 },
          value: shown(4),
        })),
      ],
    };
    const chart = new uPlot(options, [x.values, ...series.map((line) => line.values)], box);
    new ResizeObserver(() => chart.setSize(size())).observe(box);
    dark.addEventListener("change", () => chart.redraw());
    const replaced = figure.querySelector(".drawn");
    if (replaced) replaced.classList.add("replaced");
  };

  const { epochs, steps } = drawn;
  if (epochs.x.length > 0) {
    plot("epochs", { label: "epoch", values: epochs.x }, epochs.series);
    if (steps.x.length > 1) {
      plot("steps", { label: "step", values: steps.x }, [{ label: "loss", colour: 0, dash: "", values: steps.loss }]);
      if (steps.each > 1) document.querySelector("#steps span").textContent = `, the mean of ${steps.each} each`;
    }
  }
}
