"use strict";
// The first page, the papers' claims, and two models side by side.
/* global Plot, d3 */
(() => {
  const { h } = LA;
  const PARTS = {
    neurons: ["Neurons", "Type a word and see the neurons that point at it; open one and see what it reads, writes and fires on."],
    facts: ["Facts", "Pick a fact and see which layers, heads and neurons made the answer."],
    patching: ["Patching", "Pull the layer and watch the answer flip to the donor's."],
    texts: ["Texts", "Read a text as a layer sees it, and what detectors make of it."],
  };
  // What the claims table calls a verdict: its words here, and how it looks.
  const VERDICTS = { holds: ["holds", "yes"], fails: ["does not hold", "no"], undecided: ["undecided", "untested"], untested: ["cannot be tested here", "untested"] };
  const verdict = (name) => h("span", { class: `verdict ${VERDICTS[name][1]}` }, VERDICTS[name][0]);

  const PANELS = { geometry: "intrinsic dimension of attention", neurons: "closest token (cosine)", patching: "score when layer k is manipulated", facts: "importance (nat)" };

  // What each layer does: a panel for every study, as the report's first figure has them.
  function anatomy(columns, name) {
    const rows = LA.rows(columns);
    return Object.entries(PANELS).filter(([study]) => rows.some((row) => row.study === study)).map(([study, label]) => {
      const own = rows.filter((row) => row.study === study);
      const series = [...new Set(own.map((row) => row.series))];
      const colour = (row) => LA.chart.PALETTE[series.indexOf(row.series) % 10];
      const bands = own.filter((row) => row.low !== null);
      return [
        LA.chart(`${label} of ${name}, layer by layer`, () => ({
          height: 150, marginLeft: 55, x: LA.chart.layers("layer", own.map((row) => row.layer)), y: { label, grid: true, ticks: 4 },
          marks: [
            Plot.areaY(bands, { x: "layer", y1: "low", y2: "high", z: "series", fill: colour, fillOpacity: 0.15 }),
            Plot.lineY(own, { x: "layer", y: "value", z: "series", stroke: colour }),
            Plot.dot(own, { x: "layer", y: "value", fill: colour, r: 2.5, title: (row) => `${row.series}, layer ${row.layer}: ${LA.number(row.value)}${row.low === null ? "" : ` [${LA.number(row.low)}, ${LA.number(row.high)}]`} (${row.about})` }),
          ],
        })),
        LA.chart.legend(series.map((each, place) => [each === "ffn" ? "FFN" : each, LA.chart.PALETTE[place % 10]])),
      ];
    });
  }

  LA.views.home = async (page, parts, query, run) => {
    const claims = LA.rows(await LA.load("overview/claims"));
    const count = (name) => claims.filter((row) => row.verdict === name).length;
    const open = count("undecided");
    const anatomies = await LA.load("overview/anatomy");
    page.append(...[
      h("h1", {}, run.models.join(", ")),
      h("p", { class: "lead" }, `An atlas of this run: every table, to look at. Of the papers' claims that could be tested, ${count("holds")} of ${claims.length - count("untested")} hold here${open ? ` (${open} undecided)` : ""}.`),
      h("ul", { class: "cards" },
        Object.entries(PARTS).filter(([name]) => run.parts.includes(name)).map(([name, [title, text]]) =>
          h("li", { class: "card" }, h("h2", {}, LA.link(title, [name])), h("p", {}, text))),
        h("li", { class: "card" }, h("h2", {}, LA.link("Claims", ["claims"])), h("p", {}, "What the papers say, what was measured here, and why.")),
        run.models.length > 1 ? h("li", { class: "card" }, h("h2", {}, LA.link("Models side by side", ["models"])), h("p", {}, "Claims, curves and neurons of two models.")) : null,
        h("li", { class: "card" }, h("h2", {}, h("a", { href: "../report.html" }, "Report")), h("p", {}, "Figures, tables and provenance on one page, to read and to print."))),
      run.models.map((name) => LA.section(run.models.length > 1 ? `Anatomy of ${name}` : "Anatomy at a glance", anatomy(anatomies[name], name), LA.source(`results/anatomy/${name}/layers.parquet`))),
    ].flat().filter(Boolean));
  };

  LA.views.claims = async (page, parts, query) => {
    const claims = LA.rows(await LA.load("overview/claims"));
    const state = { verdict: "", ...query };
    const holder = h("div", {});
    const refresh = () => {
      LA.router.replace(["claims"], state);
      const shown = claims.filter((row) => !state.verdict || row.verdict === state.verdict);
      holder.replaceChildren(h("p", { class: "summary", role: "status" }, `${shown.length} claims.`), LA.table("claims of the papers", shown, [
        // Claim and verdict first: all that a phone shows before a reader pulls the table aside.
        { field: "claim", title: "claim", filter: true, wrap: true, minWidth: 200, grow: 3 },
        { field: "verdict", title: "verdict", minWidth: 120, format: verdict },
        { field: "paper", title: "paper", filter: true, wrap: true, minWidth: 110 },
        { field: "model", title: "model", filter: true, wrap: true, minWidth: 100 },
        { field: "dataset", title: "on", filter: true, wrap: true, minWidth: 100 },
        { field: "paper_value", title: "paper says", wrap: true, minWidth: 140, grow: 2 },
        { field: "measured_value", title: "measured here", numeric: true, wrap: true, minWidth: 130, format: (value, row) => `${LA.number(value)}${row.unit ? ` ${row.unit}` : ""}${row.low !== null && row.high !== null ? ` [${LA.number(row.low)}, ${LA.number(row.high)}]` : ""}` },
        { field: "note", title: "why", wrap: true, minWidth: 260, grow: 4, filter: true, format: (value, row) => `${value} Evidence: ${row.evidence} ${row.evidence_unit}; at least ${row.least_evidence} needed.` },
      ], { pageSize: 10, layout: "fitColumns" }));
    };
    page.append(
      h("h1", {}, "Claims"),
      h("p", { class: "lead" }, "What the papers say, tested on this run. Nothing was tuned to agree; a claim that fails here need not fail in the paper's larger models."),
      h("form", { class: "controls", on: { submit: (event) => event.preventDefault() } },
        LA.select("verdict", [["", "all"], ...Object.entries(VERDICTS).map(([name, [words]]) => [name, words])], state.verdict, (value) => { state.verdict = value; refresh(); })),
      holder, LA.source("results/claims.parquet"));
    refresh();
  };

  // Claims of two models beside each other, told apart by paper, claim and data set.
  function claimsBeside(claims, first, second) {
    const pairs = d3.rollups(claims.filter((row) => row.model === first || row.model === second), (own) => own, (row) => JSON.stringify([row.paper, row.claim, row.dataset]))
      .map(([, own]) => ({ ...own[0], a: own.find((row) => row.model === first), b: own.find((row) => row.model === second) }));
    const cell = (row) => (row ? h("span", {}, LA.number(row.measured_value), row.unit ? ` ${row.unit} ` : " ", verdict(row.verdict)) : "–");
    return LA.table("claims of both models", pairs, [
      { field: "paper", title: "paper", filter: true, wrap: true, minWidth: 110 },
      { field: "claim", title: "claim", filter: true, wrap: true, minWidth: 260, grow: 3 },
      { field: "dataset", title: "on", filter: true },
      { field: "a", title: first, format: cell, minWidth: 170 },
      { field: "b", title: second, format: cell, minWidth: 170 },
    ], { pageSize: 10, layout: "fitColumns" });
  }

  async function patchingBeside(models, state, change) {
    const found = await Promise.all(models.map((name) => LA.load(`patching/${name}/index`)));
    const tasks = Object.keys(found[0].tasks).filter((task) => task in found[1].tasks);
    if (!tasks.length) return null;
    const task = tasks.includes(state.task) ? state.task : tasks[0];
    const manipulations = found[0].tasks[task].manipulations;
    const manipulation = manipulations.includes(state.manipulation) ? state.manipulation : manipulations[0];
    const all = found.map((index) => LA.rows(index.tasks[task].curves));
    const metrics = [...new Set(all[0].filter((row) => row.manipulation === manipulation).map((row) => row.metric))];
    const metric = metrics.includes(state.metric) ? state.metric : metrics[0];
    const data = models.flatMap((name, place) => LA.curveOf(all[place], manipulation, metric).map((row) => ({ ...row, place })));
    const colour = (row) => LA.chart.PALETTE[row.place];
    return LA.section("Patching",
      h("div", { class: "controls" },
        LA.select("task", tasks, task, (value) => change({ task: value })),
        LA.select("manipulation", manipulations, manipulation, (value) => change({ manipulation: value })),
        LA.select("what is averaged", metrics, metric, (value) => change({ metric: value }))),
      LA.chart(`${metric} of both models by depth`, () => ({
        height: 260, marginLeft: 55, x: { label: "depth of layer k", domain: [0, 1] }, y: { label: metric.replaceAll("_", " "), grid: true },
        marks: [Plot.areaY(data, { x: "depth", y1: "low", y2: "high", z: (row) => `${row.place} ${row.strength}`, fill: colour, fillOpacity: 0.2 }), Plot.lineY(data, { x: "depth", y: "value", z: (row) => `${row.place} ${row.strength}`, stroke: colour, marker: "dot" })],
      }), "Mean over all examples with its 95 % interval."),
      LA.chart.legend(models.map((name, place) => [name, LA.chart.PALETTE[place]])));
  }

  async function factsBeside(models) {
    const found = await Promise.all(models.map((name) => LA.load(`facts/${name}/index`)));
    const relations = Object.keys(found[0].relations).filter((name) => name in found[1].relations);
    return LA.section("Facts", relations.map((relation) => [h("h3", {}, relation), h("div", { class: "sides" }, models.map((name, place) =>
      h("div", { class: "side" }, h("h4", {}, name), LA.factBars(LA.rows(found[place].relations[relation].summary).filter((row) => ["attention", "ffn"].includes(row.unit)), "importance", "nat", `mean importance of layers in ${name}`))))]),
    LA.chart.legend([["attention", LA.chart.PALETTE[0]], ["FFN", LA.chart.PALETTE[1]]]));
  }

  async function neuronsBeside(run, models, state, change) {
    const box = h("input", { type: "search", id: "both-word", value: state.q ?? "", on: { change: (event) => change({ q: event.target.value }) } });
    const sides = await Promise.all(models.map(async (name) => {
      if (!state.q) return null;
      const index = await LA.load(`neurons/${name}/index`);
      const { entries } = await LA.search.neurons(`neurons/${name}`, state.q);
      return h("div", { class: "side" }, h("h4", {}, name), LA.table(`neurons of ${name}`, entries.map((entry) => ({ ...entry, place: entry.layer * 1e6 + entry.neuron, name: `${index.matrices[Math.floor(entry.end / 2)]} ${entry.end % 2 ? "−" : "+"}` })), [
        { field: "place", title: "neuron", numeric: true, format: (_, row) => LA.neuronLink(name, row.layer, row.neuron) },
        { field: "name", title: "end" }, { field: "token", title: "token", format: LA.token },
        { field: "rank", title: "rank", numeric: true }, { field: "z", title: "z", numeric: true },
      ], { sort: [{ column: "z", dir: "desc" }], pageSize: 10 }));
    }));
    const pairs = (await LA.load("overview/pairs")).filter((pair) => models.every((name) => pair.models.includes(name)));
    return LA.section("Neurons",
      h("div", { class: "controls" }, h("label", { class: "field grow", for: "both-word" }, h("span", {}, "word in both models"), box)),
      h("div", { class: "sides" }, sides.filter(Boolean)),
      pairs.map((pair) => [h("h3", {}, `Neurons whose weights differ most: ${pair.models.join(" and ")}`), LA.table("changed neurons", LA.rows(pair.changed), [
        { field: "matrix", title: "matrix", filter: true }, { field: "rank", title: "rank", numeric: true },
        { field: "layer", title: "layer", numeric: true }, { field: "neuron", title: "neuron", numeric: true, format: (value, row) => LA.neuronLink(pair.models[0], row.layer, value) },
        { field: "weight_cosine", title: "cosine", numeric: true }, { field: "jaccard", title: "shared tokens", numeric: true },
        { field: "token_a", title: pair.models[0], format: LA.token }, { field: "token_b", title: pair.models[1], format: LA.token },
      ])]));
  }

  LA.views.models = async (page, parts, query, run) => {
    if (run.models.length < 2) throw new Error("one model was run: there is nothing to compare");
    const state = { a: run.models[0], b: run.models[1], ...query };
    for (const name of [state.a, state.b]) if (!run.models.includes(name)) throw new Error(`there is no model ${name} in this run`);
    const holder = h("div", {});
    const claims = LA.rows(await LA.load("overview/claims"));
    const anatomies = await LA.load("overview/anatomy");
    async function refresh() {
      LA.router.replace(["models"], state);
      const models = [state.a, state.b];
      holder.replaceChildren(...[
        LA.section("Anatomy", h("div", { class: "sides" }, models.map((name) => h("div", { class: "side" }, h("h3", {}, name), anatomy(anatomies[name], name))))),
        LA.section("Claims", claimsBeside(claims, ...models)),
        run.parts.includes("patching") ? await patchingBeside(models, state, change) : null,
        run.parts.includes("facts") ? await factsBeside(models) : null,
        run.parts.includes("neurons") ? await neuronsBeside(run, models, state, change) : null,
      ].filter(Boolean));
    }
    function change(values) {
      Object.assign(state, values);
      refresh().catch((error) => holder.replaceChildren(LA.fail(error)));
    }
    page.append(h("h1", {}, "Two models"), h("form", { class: "controls", on: { submit: (event) => event.preventDefault() } },
      LA.select("first", run.models, state.a, (value) => change({ a: value })), LA.select("second", run.models, state.b, (value) => change({ b: value }))), holder);
    await refresh();
  };
})();
