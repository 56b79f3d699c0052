"use strict";
// Facts: which layers, heads and neurons brought an answer about.
/* global Plot, d3 */
(() => {
  const { h } = LA;
  const COLOURS = { attention: LA.chart.PALETTE[0], ffn: LA.chart.PALETTE[1], embedding: LA.chart.PALETTE[7] };
  const KINDS = [["attention", COLOURS.attention], ["FFN", COLOURS.ffn]];
  const tokens = (text) => h("span", {}, LA.marked(text));

  // Bars of attention and FFN side by side for every layer.
  function layerBars(rows, field, label, description) {
    const layers = [...new Set(rows.map((row) => row.layer))].sort((a, b) => a - b);
    return LA.chart(description, () => ({
      height: 230, marginLeft: 55,
      fx: { ...LA.chart.layers("layer", layers), axis: "bottom", padding: 0.15 }, x: { axis: null, domain: ["embedding", "attention", "ffn"].filter((kind) => rows.some((row) => row.kind === kind)) },
      y: { label, grid: true },
      marks: [
        Plot.barY(rows, { fx: "layer", x: "kind", y: field, fill: (row) => COLOURS[row.kind], title: (row) => `layer ${row.layer}, ${row.kind}: ${LA.number(row[field])}` }),
        Plot.ruleY([0]),
      ],
    }));
  }

  function lens(fact, layers) {
    const ordered = d3.sort(layers, (row) => row.layer, (row) => (row.kind === "attention" ? 0 : 1));
    const points = ordered.map((row, step) => ({ ...row, depth: row.layer + (row.kind === "attention" ? 0.5 : 1), step }));
    const start = { depth: 0, logprob: fact.start_logprob };
    return [
      LA.chart("log-probability of the answer after every attention and FFN layer", () => ({
        height: 230, marginLeft: 55, x: LA.chart.layers("depth: layers added so far", [0, ...points.map((row) => row.layer + 1)]), y: { label: "log p (nat)", grid: true },
        marks: [
          Plot.lineY([start, ...points], { x: "depth", y: "logprob", stroke: LA.chart.PALETTE[2] }),
          Plot.dot(points, { x: "depth", y: "logprob", fill: (row) => COLOURS[row.kind], r: 2.5, title: (row) => `after ${row.kind} of layer ${row.layer}: log p ${LA.number(row.logprob)}; most likely ${LA.marked(row.top_token)} (${LA.number(row.top_probability)})` }),
        ],
      }), "The logit lens: what the last token's residual stream says when it is read after each part."),
      LA.chart.legend(KINDS),
      h("div", { class: "lens scroll", tabindex: "0", role: "region", "aria-label": "most likely token after every layer" },
        h("table", { class: "plain" },
          h("thead", {}, h("tr", {}, ["layer", "after attention", "p", "after FFN", "p"].map((title) => h("th", { scope: "col" }, title)))),
          h("tbody", {}, d3.groups(points, (row) => row.layer).map(([layer, own]) => {
            const of = (kind) => own.find((row) => row.kind === kind);
            const cells = (row) => (row ? [h("td", { class: row.top_token === fact.target ? "hit" : "" }, LA.token(row.top_token)), h("td", {}, LA.number(row.top_probability, 2))] : [h("td", {}, "–"), h("td", {}, "–")]);
            return h("tr", {}, h("th", { scope: "row" }, String(layer)), cells(of("attention")), cells(of("ffn")));
          })))),
    ];
  }

  // What fits below a map, slanted; the tips have the whole token.
  function shortened(text) {
    const signs = Array.from(text);
    return signs.length > 10 ? `${signs.slice(0, 9).join("")}…` : text;
  }

  function map(rows, { x, y, xs, ys, xLabel, yLabel, title, description, marginLeft = 60, height }) {
    const most = d3.max(rows, (row) => Math.abs(row.importance)) || 1;
    return [
      LA.chart(description, (width) => ({
        height: height ?? Math.max(160, ys.length * 16 + 90), marginLeft, marginBottom: xs.some((value) => String(value).length > 3) ? 70 : 40,
        x: { label: xLabel, domain: xs, type: "band", tickRotate: xs.some((value) => String(value).length > 3) ? -45 : 0, tickFormat: (value) => shortened(LA.marked(String(value).replace(/^\d+ /, ""))), ticks: xs.length > width / 22 ? xs.filter((_, i) => i % Math.ceil(xs.length / (width / 22)) === 0) : undefined },
        y: { label: yLabel, domain: ys, type: "band" },
        color: { type: "diverging", interpolate: LA.chart.diverging, domain: [-most, most] },
        marks: [Plot.cell(rows, { x, y, fill: "importance", inset: 0.5, title })],
      })),
      LA.chart.ramp(-most, most, LA.chart.diverging),
    ];
  }

  function headMaps(found) {
    const heads = LA.rows(found.heads);
    const layers = d3.sort(new Set(heads.map((row) => row.layer)));
    const numbers = d3.sort(new Set(heads.map((row) => row.head)));
    const pairs = LA.rows(found.head_positions).map((row) => ({ ...row, name: `L${row.layer}·${row.head}`, at: `${row.position} ${row.position_token}` }));
    const best = d3.sort(d3.rollups(pairs, (own) => d3.sum(own, (row) => Math.abs(row.importance)), (row) => row.name), (each) => -each[1]).slice(0, 20).map((each) => each[0]);
    const shown = pairs.filter((row) => best.includes(row.name));
    const positions = LA.rows(found.positions);
    const places = d3.groups(positions, (row) => row.position).sort((a, b) => a[0] - b[0]).map(([position, own]) => `${position} ${own[0].position_token}`);
    return LA.section("Heads and positions",
      h("h3", {}, "Every head"),
      map(heads, { x: "layer", y: "head", xs: layers, ys: numbers, xLabel: "layer", yLabel: "head", description: "importance of every head", title: (row) => `layer ${row.layer}, head ${row.head}: ${LA.number(row.importance)} nat` }),
      h("h3", {}, "The best heads, by the token they read from"),
      map(shown, { x: "at", y: "name", xs: places, ys: best, xLabel: null, yLabel: null, description: "importance of the best heads at every source position", title: (row) => `layer ${row.layer}, head ${row.head} from ${LA.marked(row.position_token)} (position ${row.position}): ${LA.number(row.importance)} nat, attention ${LA.number(row.attention)}` }),
      LA.note("Log-probability increase of the answer, in nat. An empty field: the pair is not among those that were kept."));
  }

  function neuronTable(model, label, rows, score, more = []) {
    return LA.table(label, rows.map((row) => ({ ...row, place: row.layer * 1e6 + row.neuron })), [
      { field: "rank", title: "rank", numeric: true, width: 85 },
      { field: "place", title: "neuron", numeric: true, width: 120, format: (_, row) => LA.neuronLink(model, row.layer, row.neuron) },
      { field: score, title: `${score} (nat)`, numeric: true, width: 140 },
      ...more,
    ], { pageSize: 10, sort: [{ column: "rank", dir: "asc" }] });
  }

  function knockOuts(found) {
    const rows = LA.rows(found.knock_out);
    if (!rows.length) return null;
    const original = rows.find((row) => row.selection === "original");
    return LA.section("Switched off",
      original ? LA.note(`As it is: log p ${LA.number(original.logprob)}, rank ${original.rank}.`) : null,
      LA.table("what switching units off did to the answer", rows.filter((row) => row.selection !== "original").map((row) => ({ ...row, change: original ? row.logprob - original.logprob : null, what: row.selection.replaceAll("_", " ") + (row.heads_of ? ` of ${row.heads_of}` : "") })), [
        { field: "what", title: "switched off", filter: true, minWidth: 130 },
        { field: "method", title: "chosen by", filter: true, format: (value) => value.replaceAll("_", " ") || "–", minWidth: 130 },
        { field: "units", title: "units", numeric: true },
        { field: "change", title: "change of log p (nat)", numeric: true, minWidth: 120 },
        { field: "probability", title: "probability", numeric: true },
        { field: "rank", title: "rank", numeric: true },
      ], { sort: [{ column: "change", dir: "asc" }] }));
  }

  async function factPage(page, model, relation, fact) {
    const found = await LA.loadPacked(`facts/${model}/facts`, `${relation}/${fact.example_id}`);
    const layers = LA.rows(found.layers);
    page.append(...[
      h("p", { class: "crumbs" }, LA.link("Facts", ["facts", model, relation]), " › ", relation),
      h("h1", {}, `${LA.marked(fact.subject)} → ${LA.marked(fact.answer)}`),
      h("p", { class: "prompt", dir: "auto" }, fact.prompt, h("strong", {}, ` ${LA.marked(fact.target)}`)),
      LA.note(`The answer's first token has rank ${fact.rank} and probability ${LA.number(fact.probability)}. From ${LA.number(fact.start_logprob)} to ${LA.number(fact.final_logprob)} nat: attention adds ${LA.number(fact.attention)}, FFN layers ${LA.number(fact.ffn)}.${fact.rival ? ` Most likely other answer: ${LA.marked(fact.rival)}.` : ""}`),
      LA.section("Layer by layer", lens(fact, layers)),
      LA.section("What each layer adds", layerBars(layers, "importance", "importance (nat)", "importance of attention and FFN of every layer"), LA.chart.legend(KINDS)),
      headMaps(found),
      LA.section("FFN neurons", neuronTable(model, "most important FFN neurons", LA.rows(found.neurons), "importance", [
        { field: "coefficient", title: "coefficient", numeric: true, meaning: "how strongly it fired at the last token" },
        { field: "top_tokens", title: "promotes", format: tokens, wrap: true, minWidth: 200, grow: 3, filter: true },
      ])),
      LA.section("Attention neurons", LA.table("most important attention neurons", LA.rows(found.attention_neurons), [
        { field: "rank", title: "rank", numeric: true, width: 85 },
        { field: "layer", title: "layer", numeric: true },
        { field: "head", title: "head", numeric: true },
        { field: "dimension", title: "dimension", numeric: true },
        { field: "position_token", title: "reads from", format: LA.token },
        { field: "importance", title: "importance (nat)", numeric: true },
      ], { pageSize: 10, sort: [{ column: "rank", dir: "asc" }] })),
      found.query_neurons.rank?.length ? LA.section("What activates them", ["ffn", "attention"].map((values) => {
        const own = LA.rows(found.query_layers).filter((row) => row.values === values).map((row) => ({ ...row, importance: row.score }));
        return own.length ? [h("h3", {}, `Queries of the ${values === "ffn" ? "FFN" : "attention"} value neurons`), layerBars(own, "score", "score (nat)", `query scores for ${values} value neurons`)] : null;
      }), LA.chart.legend([...KINDS, ["embedding (layer −1)", COLOURS.embedding]]), neuronTable(model, "FFN neurons that activate the attention value neurons", LA.rows(found.query_neurons), "score", [
        { field: "also_value", title: "also a value neuron", format: (value) => (value ? "yes" : "no") },
      ])) : null,
      knockOuts(found),
      LA.source(`results/facts/${model}/${relation}/`, `results/facts/${model}/knock_out.parquet`),
    ].filter(Boolean));
  }

  LA.views.facts = async (page, parts, query, run) => {
    const { chosen: model, list } = LA.router.model(run, parts[0], "facts", (name) => LA.router.go(["facts", name]));
    const index = await LA.load(`facts/${model}/index`);
    const relations = Object.keys(index.relations);
    const relation = relations.includes(parts[1]) ? parts[1] : relations[0];
    const own = index.relations[relation];
    const facts = LA.rows(own.facts);
    if (parts[2] !== undefined) {
      const fact = facts.find((each) => each.example_id === parts[2]);
      if (!fact || parts[1] !== relation) throw new Error(`there is no fact ${parts[2]} of ${parts[1]} in this run`);
      return factPage(page, model, relation, fact);
    }
    const intake = LA.rows(own.intake);
    const templates = d3.groups(intake, (row) => row.template);
    const aside = intake.filter((row) => row.chosen && row.outcome !== "used");
    const summary = LA.rows(own.summary).filter((row) => ["attention", "ffn"].includes(row.unit));
    page.append(...[
      h("h1", {}, "Facts"),
      h("p", { class: "lead" }, "Which layers, heads and neurons bring an answer about, and what activates those?"),
      h("form", { class: "controls", on: { submit: (event) => event.preventDefault() } }, list,
        LA.select("relation", relations, relation, (value) => LA.router.go(["facts", model, value]))),
      LA.section(`${facts.length} facts of ${relation}`, LA.table(`facts of ${relation}`, facts, [
        { field: "subject", title: "subject", filter: true, format: (value, row) => LA.link(LA.marked(value), ["facts", model, relation, row.example_id]) },
        { field: "answer", title: "answer", filter: true },
        { field: "rank", title: "rank", numeric: true, meaning: "of the answer's first token" },
        { field: "probability", title: "probability", numeric: true },
        { field: "attention", title: "attention adds (nat)", numeric: true },
        { field: "ffn", title: "FFN adds (nat)", numeric: true },
        { field: "rival", title: "most likely other answer" },
      ])),
      summary.length ? LA.section("On average over these facts", layerBars(summary, "importance", "mean importance (nat)", "mean importance of attention and FFN of every layer"), LA.chart.legend(KINDS)) : null,
      LA.section("Set aside, and why",
        LA.note(`Asked with ${templates.map(([template, rows]) => `“${template}” (${rows.filter((row) => row.outcome === "used").length} used${rows.some((row) => row.chosen) ? ", chosen" : ""})`).join("; ")}.`),
        LA.table("facts that were set aside", aside, [
          { field: "subject", title: "subject", filter: true },
          { field: "answer", title: "answer" },
          { field: "outcome", title: "why", filter: true, wrap: true, minWidth: 200, grow: 2 },
          { field: "predicted", title: "predicted", format: LA.token },
          { field: "rank", title: "rank", numeric: true },
          { field: "probability", title: "probability", numeric: true },
        ], { empty: "none" })),
      LA.source(`results/facts/${model}/${relation}/facts.parquet`, `results/facts/${model}/${relation}/intake.parquet`),
    ].filter(Boolean));
    return undefined;
  };
  LA.factBars = layerBars;
})();
