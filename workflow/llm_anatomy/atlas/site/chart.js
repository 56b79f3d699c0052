"use strict";
// Charts are Observable Plot's, in the figures' colours; each has a description and a table's worth
// of numbers beside it or in its tips.
/* global Plot, d3 */
LA.chart = (() => {
  const { h } = LA;
  // Okabe and Ito's palette as the figures have it (figures/exhibit.py).
  const PALETTE = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"];
  const sequential = d3.interpolateCividis;
  // D3's runs from purple to orange, as matplotlib's PuOr_r does.
  const diverging = d3.interpolatePuOr;

  // Draws again when the width changes; `make` gets the width and gives Plot's options.
  function chart(description, make, caption) {
    const holder = h("div", { class: "plot" });
    const figure = h("figure", {}, holder, caption ? h("figcaption", {}, caption) : null);
    let width = 0;
    const draw = () => {
      const now = Math.floor(holder.clientWidth);
      if (!now || now === width) return;
      width = now;
      const drawn = Plot.plot({
        className: "la-plot",
        width,
        ariaLabel: description,
        // Plot's own 30 pixels hold ticks and a label of smaller letters than these.
        marginBottom: 40,
        style: { background: "none", color: "inherit", fontFamily: "inherit", fontSize: "12px" },
        ...make(width),
      });
      drawn.setAttribute("role", "img");
      holder.replaceChildren(drawn);
    };
    new ResizeObserver(draw).observe(holder);
    return figure;
  }

  // What colours stand for; series by name.
  function legend(series) {
    return h("ul", { class: "legend" }, series.map(([name, colour, dashed]) =>
      h("li", {}, h("span", { class: dashed ? "swatch dashed" : "swatch", style: { "--colour": colour } }), name)));
  }

  // A strip from the lowest to the highest value, for maps.
  function ramp(low, high, colour) {
    const stops = Array.from({ length: 9 }, (_, i) => colour(i / 8)).join(",");
    return h("p", { class: "ramp" }, LA.number(low), h("span", { class: "strip", style: { background: `linear-gradient(to right,${stops})` } }), LA.number(high));
  }

  const readable = (colour) => {
    const { r, g, b } = d3.rgb(colour);
    return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#111" : "#fff";
  };

  // An axis of layers, which are whole numbers: about a dozen of them get a tick.
  const layers = (label, values) => {
    const distinct = [...new Set(values)].sort((a, b) => a - b);
    const step = Math.max(1, Math.ceil(distinct.length / 12));
    return { label, tickFormat: "d", ticks: distinct.filter((_, place) => place % step === 0) };
  };

  return Object.assign(chart, { PALETTE, sequential, diverging, legend, ramp, readable, layers });
})();
