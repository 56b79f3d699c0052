"use strict";
// Texts: token by token, against their data set, and as the detectors see them.
/* global Plot, d3 */
(() => {
  const { h } = LA;
  const MEASURES = { active: "share of active units", distance: "distance to the nearest boundary", dimension: "intrinsic dimension of attention" };
  const FEATURES = ["mean active share", "smallest active share", "largest active share", "spread of the active share", "smallest distance", "mean distance", "spread of the distance"];

  // Values of one measure at every token of a layer; null where it was not counted.
  function valuesOf(document, measure, layer) {
    if (measure !== "dimension") return document[measure][layer];
    const values = document.tokens.map(() => null);
    for (const row of LA.rows(document.dimension)) if (row.layer === layer && row.threshold === "relative") values[row.position] = row.dimension;
    return values;
  }

  function coloured(document, measure, layer) {
    const values = valuesOf(document, measure, layer);
    const there = values.filter((value) => value !== null);
    const logarithm = measure === "distance";
    const scale = (value) => (logarithm ? Math.log(Math.max(value, 1e-12)) : value);
    const [low, high] = d3.extent(there.map(scale));
    return [
      h("p", { class: "text-tokens", dir: "auto" }, document.tokens.map((text, place) => {
        const value = values[place];
        if (value === null) return h("span", { class: "tok" }, text);
        const colour = LA.chart.sequential(high > low ? (scale(value) - low) / (high - low) : 0.5);
        return h("span", { class: "tok", title: `${LA.marked(text)}: ${LA.number(value)}`, style: { "background-color": colour, color: LA.chart.readable(colour) } }, text);
      })),
      there.length ? LA.chart.ramp(d3.min(there), d3.max(there), LA.chart.sequential) : null,
      LA.note(there.length ? `${MEASURES[measure]} in layer ${layer}: ${LA.number(d3.min(there))} to ${LA.number(d3.max(there))}${logarithm ? ", coloured by its logarithm" : ""}.${there.length < values.length ? " It was counted at the last token only." : ""}` : "It was not counted for this text."),
    ];
  }

  async function featureCharts(part, number, list, row, layer, label) {
    const features = await LA.load(`${part}/${number}-features-${String(layer).padStart(2, "0")}`);
    const truth = label ? list.labels[label] : null;
    const group = (place) => (truth === null ? "all" : truth[place] === null ? "unknown" : truth[place] ? label : `not ${label}`);
    const domain = truth === null ? ["all"] : [`not ${label}`, label];
    return [
      h("div", { class: "small-plots" }, features.map((values, feature) => {
        const data = values.map((value, place) => ({ value, group: group(place) })).filter((each) => each.value !== null && domain.includes(each.group));
        return LA.chart(`distribution of feature ${feature + 1}, with this text`, () => ({
          height: 120, marginLeft: 38, marginTop: 8, marginBottom: 34, x: { label: `${feature + 1}: ${FEATURES[feature]}`, ticks: 4, labelArrow: "none", labelAnchor: "center" }, y: { label: null, ticks: 2 },
          marks: [
            Plot.rectY(data, Plot.binX({ y: "count" }, { x: "value", fill: (each) => LA.chart.PALETTE[domain.indexOf(each.group)], fillOpacity: 0.65, thresholds: 24, mixBlendMode: "normal" })),
            values[row] !== null ? Plot.ruleX([values[row]], { stroke: "currentColor", strokeWidth: 2 }) : null,
            values[row] !== null ? Plot.dot([values[row]], { x: (value) => value, frameAnchor: "top", fill: "currentColor", r: 3, title: (value) => LA.number(value) }) : null,
          ],
        }));
      })),
      truth === null ? null : LA.chart.legend(domain.map((name, place) => [name, LA.chart.PALETTE[place]])),
      LA.note("The line is this text; bars count the texts of the data set."),
    ];
  }

  function scoreTable(list, row) {
    const rows = Object.entries(list.scores).flatMap(([label, own]) => Object.entries(own.detectors).filter(([, scores]) => scores[row] !== null).map(([detector, scores]) => ({ label, detector, truth: own.truth[row], score: scores[row], error: Math.abs(scores[row] - Number(own.truth[row])) })));
    if (!rows.length) return LA.note("No detector scored this text.");
    return LA.table("out-of-fold scores of this text", rows, [
      { field: "label", title: "label", filter: true },
      { field: "detector", title: "detector", filter: true, minWidth: 200, grow: 2 },
      { field: "truth", title: "truth", format: (value) => (value ? "yes" : "no") },
      { field: "score", title: "score", numeric: true },
      { field: "error", title: "error", numeric: true, meaning: "distance of the score from the truth" },
    ], { sort: [{ column: "error", dir: "desc" }] });
  }

  async function textPage(page, part, model, entry, number, list, textId, query) {
    const row = list.text_id.indexOf(textId);
    if (row < 0) throw new Error(`there is no text ${textId} among those of ${entry.dataset} that are shown`);
    const document_ = await LA.loadPacked(`${part}/${number}-text`, textId);
    const state = { measure: "active", layer: String(Math.floor(entry.layers / 2)), label: Object.keys(list.labels)[0] ?? "", ...query };
    const tokens = h("div", {});
    const features = h("div", {});
    async function refresh() {
      const layer = Math.min(entry.layers - 1, Math.max(0, Number(state.layer) || 0));
      LA.router.replace(["texts", model, entry.dataset, textId], state);
      if (document_.tokens) tokens.replaceChildren(...coloured(document_, state.measure, layer).filter(Boolean));
      features.replaceChildren(...(await featureCharts(part, number, list, row, layer, state.label)).filter(Boolean));
    }
    const shown = h("output", { for: "layer" }, state.layer);
    const change = (values) => { Object.assign(state, values); shown.value = state.layer; refresh(); };
    const labels = Object.entries(list.labels).map(([label, values]) => `${label}: ${values[row] === null ? "unknown" : values[row] ? "yes" : "no"}`);
    page.append(...[
      h("p", { class: "crumbs" }, LA.link("Texts", ["texts", model, entry.dataset]), " › ", entry.dataset),
      h("h1", {}, `Text ${textId}`),
      h("p", { class: "lead" }, labels.join(" · ")),
      h("div", { class: "controls sticky" },
        document_.tokens ? LA.select("colour", Object.entries(MEASURES).filter(([name]) => name in document_), state.measure, (value) => change({ measure: value })) : null,
        h("label", { class: "field grow" }, h("span", {}, "layer ", shown), h("input", { id: "layer", "aria-label": "layer", type: "range", min: "0", max: String(entry.layers - 1), value: state.layer, on: { input: (event) => change({ layer: event.target.value }) } })),
        Object.keys(list.labels).length ? LA.select("compare by", [["", "all texts"], ...Object.keys(list.labels)], state.label, (value) => change({ label: value })) : null),
      document_.tokens ? tokens : [h("p", { class: "text-tokens", dir: "auto" }, document_.text), LA.note("The atlas holds this text without its tokens' numbers; the traces table has them.")],
      document_.truncated ? LA.note("The text is longer; this is what the model read.") : null,
      LA.section("Features against the data set", features),
      LA.section("What the detectors say", scoreTable(list, row)),
      LA.source(`results/data/${entry.dataset}.parquet`, `results/geometry/${model}/${entry.dataset}/spline_features.parquet`),
    ].flat().filter(Boolean));
    await refresh();
  }

  LA.views.texts = async (page, parts, query, run) => {
    const { chosen: model, list: models } = LA.router.model(run, parts[0], "texts", (name) => LA.router.go(["texts", name]));
    const part = `texts/${model}`;
    const index = await LA.load(`${part}/index`);
    const names = index.datasets.map((each) => each.dataset);
    const number = parts[1] === undefined ? 0 : names.indexOf(parts[1]);
    if (number < 0) throw new Error(`there is no data set ${parts[1]} in this run`);
    const entry = index.datasets[number];
    const list = await LA.load(`${part}/${number}-list`);
    if (parts[2] !== undefined) return textPage(page, part, model, entry, number, list, parts[2], query);
    const labels = Object.keys(list.scores);
    const state = { label: labels[0] ?? "", detector: "", truth: "", error: "", ...query };
    const holder = h("div", {});
    function refresh() {
      LA.router.replace(["texts", model, entry.dataset], state);
      const scores = list.scores[state.label];
      const detectors = scores ? Object.keys(scores.detectors) : [];
      const detector = detectors.includes(state.detector) ? state.detector : detectors[0];
      const rows = list.text_id.map((id, row) => {
        const score = detector ? scores.detectors[detector][row] : null;
        const truth = scores ? scores.truth[row] : null;
        return { id, beginning: list.beginning[row], n_tokens: list.n_tokens[row], score, truth, error: score === null || truth === null ? null : Math.abs(score - Number(truth)) };
      }).filter((each) => (!state.truth || String(each.truth) === state.truth) && (!state.error || (each.error !== null && each.error >= Number(state.error))));
      holder.replaceChildren(
        h("div", { class: "controls" }, detectors.length ? LA.select("detector", detectors, detector, (value) => change({ detector: value })) : null),
        h("p", { class: "summary", role: "status" }, `${rows.length.toLocaleString("en")} texts.`),
        LA.table("texts of the data set", rows, [
          { field: "id", title: "text", filter: true, width: 140, format: (value) => LA.link(value, ["texts", model, entry.dataset, value]) },
          { field: "beginning", title: "beginning", filter: true, wrap: true, minWidth: 260, grow: 4, format: (value) => h("span", { dir: "auto" }, value) },
          { field: "n_tokens", title: "tokens", numeric: true, width: 100 },
          ...(scores ? [
            { field: "truth", title: state.label, width: 110, format: (value) => (value === null ? "–" : value ? "yes" : "no") },
            { field: "score", title: "score", numeric: true, width: 100, meaning: "out-of-fold score of the chosen detector" },
            { field: "error", title: "error", numeric: true, width: 100 },
          ] : []),
        ], { sort: scores ? [{ column: "error", dir: "desc" }] : [] }));
    }
    const change = (values) => { Object.assign(state, values); refresh(); };
    page.append(...[
      h("h1", {}, "Texts"),
      h("p", { class: "lead" }, "Where a text lies among the regions of every layer, token by token, and what detectors make of it."),
      h("form", { class: "controls", on: { submit: (event) => event.preventDefault() } }, models,
        LA.select("data set", names, entry.dataset, (value) => LA.router.go(["texts", model, value])),
        labels.length ? LA.select("label", labels, state.label, (value) => change({ label: value })) : null,
        labels.length ? LA.select("truth", [["", "both"], ["true", "yes"], ["false", "no"]], state.truth, (value) => change({ truth: value })) : null,
        labels.length ? LA.select("error", [["", "any"], ["0.5", "at least 0.5"], ["0.9", "at least 0.9"]], state.error, (value) => change({ error: value })) : null),
      entry.listed < entry.texts ? LA.note(`${entry.listed.toLocaleString("en")} of ${entry.texts.toLocaleString("en")} texts: the most wrong, and others evenly spread.`) : null,
      holder,
      LA.note(`${entry.with_tokens.toLocaleString("en")} of them token by token.`),
      LA.source(`results/data/${entry.dataset}.parquet`, ...(labels.length ? [`results/toxicity/${model}/${entry.dataset}/predictions.parquet`] : [])),
    ].filter(Boolean));
    refresh();
    return undefined;
  };
})();
