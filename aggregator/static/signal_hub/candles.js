"use strict";
// Draws the candles of a call with its prices, in the theme's colours. The page says the same in words; the
// keyboard walks through the candles, and what each holds is read out.
(() => {
  const place = document.getElementById("hub-candles");
  const { bars, lines, markers, side, places } = JSON.parse(document.getElementById("hub-candles-data").textContent);
  const { createChart, createSeriesMarkers, CandlestickSeries, LineSeries, LineStyle, LineType } = LightweightCharts;
  const colour = (name) => getComputedStyle(place).getPropertyValue(`--hub-${name}`).trim();
  const time = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");
  const price = (value) => value.toFixed(places);
  const format = { type: "price", precision: places, minMove: 10 ** -places };

  const chart = createChart(place, {
    autoSize: true,
    layout: { attributionLogo: false, background: { color: "transparent" }, fontFamily: "inherit" },
    timeScale: { timeVisible: true, rightOffset: 2, minBarSpacing: 0.5, maxBarSpacing: 32 },
    localization: { timeFormatter: time },
    handleScroll: { mouseWheel: false },
    handleScale: { mouseWheel: false },
  });
  const candles = chart.addSeries(CandlestickSeries, { priceFormat: format, lastValueVisible: false, priceLineVisible: false });
  candles.setData(bars.map(([at, open, high, low, close]) => ({ time: at, open, high, low, close })));
  const drawn = Object.entries(lines).map(([name, points]) => {
    const series = chart.addSeries(LineSeries, {
      lineWidth: 2, lineType: LineType.WithSteps, priceFormat: format, title: name, priceLineVisible: false, crosshairMarkerVisible: false,
      lineStyle: name in { entry: 0, stop: 0, target: 0 } ? LineStyle.Solid : LineStyle.Dashed,
    });
    series.setData(points.map(([at, value]) => ({ time: at, value })));
    return [name in { entry: 0, stop: 0, target: 0 } ? name : "claimed", series];
  });
  const shapes = createSeriesMarkers(candles, []);

  const paint = () => {
    chart.applyOptions({
      layout: { textColor: colour("ink") },
      grid: { vertLines: { color: colour("grid") }, horzLines: { color: colour("grid") } },
      rightPriceScale: { borderColor: colour("grid") },
      timeScale: { borderColor: colour("grid") },
    });
    const [up, down] = [colour("up"), colour("down")];
    candles.applyOptions({ upColor: up, borderUpColor: up, wickUpColor: up, downColor: down, borderDownColor: down, wickDownColor: down });
    for (const [name, series] of drawn) series.applyOptions({ color: colour(name) });
    shapes.setMarkers(markers.map(([at, kind, text]) => {
      const rises = (kind === "entry") === side > 0;
      return { time: at, text, color: colour("ink"), shape: rises ? "arrowUp" : "arrowDown", position: rises ? "belowBar" : "aboveBar" };
    }));
  };
  new MutationObserver(paint).observe(document.documentElement, { attributeFilter: ["class"] });
  paint();
  chart.timeScale().fitContent();

  const said = document.getElementById("hub-candle");
  let current = bars.length - 1;
  const show = (number) => {
    current = Math.max(0, Math.min(bars.length - 1, number));
    const [at, open, high, low, close] = bars[current];
    chart.setCrosshairPosition(close, at, candles);
    const happened = markers.filter(([moment]) => moment === at).map(([, kind, text]) => (kind === text ? kind : `${kind}: ${text}`));
    said.textContent = [`${time(at)}: open ${price(open)}, high ${price(high)}, low ${price(low)}, close ${price(close)}`, ...happened].join(", ");
  };
  const zoom = (factor) => {
    const range = chart.timeScale().getVisibleLogicalRange();
    const [middle, half] = [(range.from + range.to) / 2, ((range.to - range.from) / 2) * factor];
    chart.timeScale().setVisibleLogicalRange({ from: middle - half, to: middle + half });
  };
  const keys = {
    ArrowLeft: () => show(current - 1), ArrowRight: () => show(current + 1), Home: () => show(0), End: () => show(bars.length - 1),
    "+": () => zoom(0.7), "-": () => zoom(1 / 0.7), 0: () => chart.timeScale().fitContent(),
  };
  place.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  place.addEventListener("focusout", () => { chart.clearCrosshairPosition(); said.textContent = ""; });
})();
