"use strict";
// Neurons by word, by concept and by layer.
/* global Plot */
(() => {
  const { h } = LA;
  const endName = (index, end) => `${index.matrices[Math.floor(end / 2)]} ${end % 2 ? "−" : "+"}`;

  const Z_MEANING = "How many standard deviations the token's logit stands from the mean of the neuron's logits, towards this end: high for a neuron that points to this token and to little else";

  function resultTable(model, index, found) {
    const rows = found.map((entry) => ({ ...entry, place: entry.layer * 1e6 + entry.neuron, name: endName(index, entry.end) }));
    return LA.table("neurons that decode to the word", rows, [
      { field: "place", title: "neuron", numeric: true, width: 120, format: (_, row) => LA.neuronLink(model, row.layer, row.neuron) },
      { field: "name", title: "matrix, end", meaning: "+: tokens that the weight vector points to; −: tokens that it points away from", width: 130 },
      { field: "token", title: "token", format: LA.token, meaning: "as it stands inside a sentence; ␣ is a space" },
      { field: "rank", title: "rank", numeric: true, width: 90, meaning: "1 is the most probable token of this end" },
      { field: "z", title: "z-score", numeric: true, width: 110, meaning: Z_MEANING, format: (value) => value.toFixed(1).replace("-", "−") },
    ], { sort: [{ column: "z", dir: "desc" }, { column: "rank", dir: "asc" }], empty: "no neuron decodes to it" });
  }

  function layerBars(index, found) {
    const counts = new Map(index.layers.map((each) => [each.layer, 0]));
    for (const entry of found) counts.set(entry.layer, (counts.get(entry.layer) ?? 0) + 1);
    const data = [...counts].map(([layer, count]) => ({ layer, count }));
    return LA.chart("how many tokens of neurons were found in each layer", () => ({
      height: 130, marginLeft: 50,
      x: { ...LA.chart.layers("layer", data.map((each) => each.layer)), type: "band" },
      y: { label: "found", grid: true, ticks: 3, tickFormat: (v) => (Number.isInteger(v) ? String(v) : "") },
      marks: [Plot.barY(data, { x: "layer", y: "count", fill: LA.chart.PALETTE[0], title: (d) => `layer ${d.layer}: ${d.count}` }), Plot.ruleY([0])],
    }));
  }

  async function results(model, index, state, change) {
    const found = await LA.search.neurons(`neurons/${model}`, state.q, state.word);
    const kept = found.entries.filter((entry) =>
      (!state.layer || entry.layer === Number(state.layer)) &&
      (!state.matrix || index.matrices[Math.floor(entry.end / 2)] === state.matrix) &&
      (!state.end || (entry.end % 2 ? "-" : "+") === state.end));
    const neurons = new Set(kept.map((entry) => entry.layer * 1e6 + entry.neuron)).size;
    const chips = found.words.slice(0, 24).map((word) =>
      h("button", {
        type: "button", class: "chip", "aria-pressed": String(state.word === word.text),
        on: { click: () => change({ word: state.word === word.text ? "" : word.text }) },
      }, LA.marked(word.text), h("span", { class: "count" }, ` ${word.count}`)));
    const left = found.words.length - found.used.length;
    const words = found.words.length === 1 ? "one word" : `${found.words.length.toLocaleString("en")} words`;
    return [
      h("p", { class: "summary", role: "status" },
        found.words.length
          ? `${neurons.toLocaleString("en")} neurons; ${words} found in the map${!state.word && left > 0 ? `, the first ${found.used.length} shown` : ""}.`
          : "No token that this map kept holds it."),
      found.words.length > 1 ? h("div", { class: "chips", role: "group", "aria-label": "words found" }, chips) : null,
      kept.length ? layerBars(index, kept) : null,
      found.words.length ? resultTable(model, index, kept) : null,
    ];
  }

  async function concepts(model) {
    const rows = LA.rows(await LA.load(`neurons/${model}/concepts`)).map((row) => ({ ...row, place: row.layer * 1e6 + row.neuron, name: `${row.matrix} ${row.sign < 0 ? "−" : "+"}` }));
    if (!rows.length) return null;
    return LA.section("Concepts of this run",
      LA.table("the most specific neurons of every configured concept", rows, [
        { field: "concept", title: "concept", filter: true },
        { field: "rank", title: "place", numeric: true, width: 90, meaning: "1 is the most specific neuron that has the concept" },
        { field: "place", title: "neuron", numeric: true, width: 120, format: (_, row) => LA.neuronLink(model, row.layer, row.neuron) },
        { field: "name", title: "matrix, end", width: 130 },
        { field: "token", title: "token", format: LA.token },
        { field: "token_rank", title: "rank", numeric: true, width: 90, meaning: "rank of the token among all tokens of this end" },
        { field: "specificity", title: "specificity", numeric: true, meaning: "cosine − hubness: high for a neuron that is close to the concept and to little else" },
        { field: "cosine", title: "cosine", numeric: true },
        { field: "z_score", title: "z-score", numeric: true, meaning: Z_MEANING },
      ]),
      LA.source(`results/neurons/${model}/concepts.parquet`));
  }

  // Every neuron of a layer, by its first token at one end.
  async function layerTable(model, index, layer, matrix, end) {
    const place = index.layers.find((each) => each.layer === layer);
    const blocks = Math.ceil(place.neurons / place.block);
    const side = index.matrices.indexOf(matrix) * 2 + (end === "-" ? 1 : 0);
    const ends = index.matrices.length * 2;
    const rows = [];
    for (let block = 0; block < blocks; block += 1) {
      const found = await LA.load(LA.blockName(model, layer, block));
      found.neurons.forEach((neuron, row) => {
        const start = (row * ends + side) * index.k;
        const matrices = index.matrices.length;
        rows.push({
          neuron,
          tokens: found.token.slice(start, start + 5).map((each) => found.tokens[each]),
          probability: found.probability[start],
          cosine: found.statistics[end === "-" ? "cosine_negative" : "cosine_positive"][row * matrices + Math.floor(side / 2)],
          kurtosis: found.statistics.kurtosis[row * matrices + Math.floor(side / 2)],
        });
      });
    }
    return LA.table(`neurons of layer ${layer}`, rows, [
      { field: "neuron", title: "neuron", numeric: true, width: 120, format: (value) => LA.neuronLink(model, layer, value) },
      { field: "tokens", title: "first five tokens", minWidth: 260, grow: 3, filter: true,
        filterText: (value) => value.map(LA.marked).join(" "),
        format: (value) => h("span", {}, value.map((text) => [LA.token(text), " "])) },
      { field: "cosine", title: "largest cosine", numeric: true, meaning: "largest cosine of the weight vector with a row of the head, at this end" },
      { field: "probability", title: "probability", numeric: true, meaning: "softmax of the logits at the first token" },
      { field: "kurtosis", title: "kurtosis", numeric: true, meaning: "of the logits over the vocabulary; 3 is Gaussian" },
    ], { sort: [{ column: "cosine", dir: "desc" }] });
  }

  LA.blockName = (model, layer, block) =>
    `neurons/${model}/layer-${String(layer).padStart(2, "0")}-${String(block).padStart(4, "0")}`;

  LA.views.neurons = async (page, parts, query, run) => {
    const { chosen: model, list } = LA.router.model(run, parts[0], "neurons", (name) => LA.router.go(["neurons", name], state));
    const index = await LA.load(`neurons/${model}/index`);
    const state = { q: "", word: "", layer: "", matrix: "", end: "", browse: "", ...query };
    const shown = h("div", { class: "results" });
    let turn = 0;
    async function refresh() {
      const mine = ++turn;
      const began = performance.now();
      LA.router.replace(["neurons", model], state);
      const content = state.q.trim() ? await results(model, index, state, change)
        : state.browse ? [LA.section(`Layer ${state.browse}`, await layerTable(model, index, Number(state.browse), state.matrix || index.matrices[0], state.end))]
          : [await concepts(model)];
      if (mine !== turn) return;
      shown.replaceChildren(...content.flat().filter(Boolean));
      shown.dataset.milliseconds = String(performance.now() - began);
      shown.dataset.query = state.q;
    }
    function change(values) {
      Object.assign(state, values);
      refresh().catch((error) => shown.replaceChildren(LA.fail(error)));
    }
    const box = h("input", {
      type: "search", id: "word", value: state.q, placeholder: "dog, 東京, -ing …", autocomplete: "off", spellcheck: "false",
      on: { input: (event) => change({ q: event.target.value, word: "" }) },
    });
    const layers = index.layers.map((each) => each.layer);
    page.append(
      h("h1", {}, "Neurons"),
      h("p", { class: "lead" }, `Which of the ${index.layers.reduce((sum, each) => sum + each.neurons, 0).toLocaleString("en")} MLP neurons of ${model} point at a word, when the model's own output head reads their weights?`),
      h("form", { class: "controls", role: "search", on: { submit: (event) => event.preventDefault() } },
        list,
        h("label", { class: "field grow", for: "word" }, h("span", {}, "word, or part of one"), box),
        LA.select("layer", [["", "all"], ...layers], state.layer, (value) => change({ layer: value })),
        LA.select("matrix", [["", "all"], ...index.matrices], state.matrix, (value) => change({ matrix: value })),
        LA.select("end", [["", "both"], ["+", "+ points to"], ["-", "− points away"]], state.end, (value) => change({ end: value })),
        LA.select("or browse a layer", [["", "–"], ...layers], state.browse, (value) => { box.value = ""; change({ browse: value, q: "", word: "" }); })),
      shown,
      LA.source(`results/neurons/${model}/vocabulary.parquet`, `results/neurons/${model}/statistics.parquet`));
    await refresh();
  };
})();
