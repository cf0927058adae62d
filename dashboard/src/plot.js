// uPlot, loaded when a plot is looked at.

import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

const COLOURS = ['#1b7f9e', '#c2571a', '#6f51b5', '#2f8540', '#b8326e', '#8a6d00'];

/** Steps: a score holds until the next submission. series: [{name, items: [{at, score}]}] */
export function draw(place, series) {
  const times = [...new Set(series.flatMap((s) => s.items.map((m) => Date.parse(m.at) / 1000)))].sort((a, b) => a - b);
  const columns = series.map((s) => {
    const scores = new Map(s.items.map((m) => [Date.parse(m.at) / 1000, m.score]));
    let last = null;
    return times.map((t) => {
      if (scores.has(t)) last = scores.get(t);
      return last;
    });
  });
  const ink = getComputedStyle(place).color;
  const faint = getComputedStyle(place).getPropertyValue('--line').trim();
  const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint, width: 1 } };
  const size = () => ({ width: place.clientWidth || 300, height: 260 });
  const plot = new uPlot({
    ...size(),
    series: [{}, ...series.map((s, i) => ({
      label: s.name, stroke: COLOURS[i % COLOURS.length], width: 2, points: { show: times.length < 100 }, paths: uPlot.paths.stepped({ align: 1 }),
    }))],
    axes: [axis, axis],
    scales: { y: { // scores of 100 are seen against 100; counts of solved problems against the most
    range: (u, low, high) => [Math.min(0, low ?? 0), high > 20 ? Math.max(100, high) : Math.ceil((high || 1) * 1.1)] } },
  }, [times, ...columns], place);
  let watched = true;
  const watch = new ResizeObserver(() => requestAnimationFrame(() => watched && plot.setSize(size())));
  watch.observe(place);
  return { destroy() { watched = false; watch.disconnect(); plot.destroy(); } };
}
