"use strict";
// One neuron: everything that was found of it.
/* global Plot, d3 */
(() => {
  const { h } = LA;
  const STATISTICS = {
    norm: "length of the vector", mean: "mean logit", std: "standard deviation of the logits", skew: "skewness", kurtosis: "kurtosis (3 is Gaussian)",
    entropy_positive: "entropy of the + end (nat)", entropy_negative: "entropy of the − end (nat)",
    margin_positive: "lead of the first + token", margin_negative: "lead of the first − token",
    cosine_positive: "largest cosine, + end", cosine_negative: "largest cosine, − end",
  };

  async function decoded(model, index, layer, neuron) {
    const place = index.layers.find((each) => each.layer === layer);
    if (!place) throw new Error(`${model} has no layer ${layer} in its map`);
    if (!Number.isInteger(neuron) || neuron < 0 || neuron >= place.neurons) throw new Error(`layer ${layer} of ${model} has the neurons 0 to ${place.neurons - 1}`);
    const block = await LA.load(LA.blockName(model, layer, Math.floor(neuron / place.block)));
    const row = block.neurons.indexOf(neuron);
    const matrices = index.matrices.length;
    return index.matrices.map((matrix, m) => ({
      matrix,
      ends: [0, 1].map((side) => {
        const start = ((row * matrices + m) * 2 + side) * index.k;
        return Array.from({ length: index.k }, (_, rank) => ({
          token: block.tokens[block.token[start + rank]], logit: block.logit[start + rank], probability: block.probability[start + rank],
        }));
      }),
      statistics: Object.fromEntries(Object.entries(block.statistics).map(([name, values]) => [name, values[row * matrices + m]])),
    }));
  }

  function tokenList(title, tokens) {
    const most = Math.max(...tokens.map((each) => Math.abs(each.logit)), 1e-9);
    return h("div", { class: "end" }, h("h4", {}, title),
      h("ol", { class: "tokens" }, tokens.map((each) =>
        h("li", { title: `logit ${LA.number(each.logit)}, probability ${LA.number(each.probability)}` },
          h("span", { class: "bar", style: { "--share": String(Math.abs(each.logit) / most) } }),
          LA.token(each.token), h("span", { class: "value" }, LA.number(each.logit))))));
  }

  function tokensSection(maps) {
    const words = { up: "up: what it reads, multiplied with the gate", gate: "gate: what switches it on", down: "down: what it writes" };
    return LA.section("In tokens", h("div", { class: "matrices" }, maps.map((map) =>
      h("div", { class: "matrix" }, h("h3", {}, words[map.matrix] ?? map.matrix),
        h("div", { class: "ends" }, tokenList("+ points to", map.ends[0]), tokenList("− points away from", map.ends[1]))))),
      LA.note("The weight vector through the LM head; numbers are logits u · w. ␣ is a space."));
  }

  function statisticsSection(maps) {
    return h("details", {}, h("summary", {}, "Statistics of the decoded vectors"),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "statistics" }, h("table", { class: "plain" },
        h("thead", {}, h("tr", {}, h("th", {}, ""), maps.map((map) => h("th", { scope: "col" }, map.matrix)))),
        h("tbody", {}, Object.entries(STATISTICS).map(([name, title]) =>
          h("tr", {}, h("th", { scope: "row" }, title), maps.map((map) => h("td", {}, LA.number(map.statistics[name])))))))));
  }

  // Token by token: colour says how much of the neuron's strongest activation.
  function contextText(context, peak) {
    return h("p", { class: "context", dir: "auto" }, context.tokens.map((text, place) => {
      const share = Math.max(-1, Math.min(1, context.values[place] / peak));
      const colour = d3.color(LA.chart.PALETTE[share < 0 ? 3 : 0]);
      colour.opacity = Math.abs(share) * 0.6;
      return h("span", {
        class: place === context.strongest ? "tok strongest" : "tok",
        title: `${LA.marked(text)}: ${LA.number(context.values[place])}`, style: { "background-color": colour.toString() },
      }, text);
    }));
  }

  // In words, whether what it fires on is what it decodes to.
  function agreement(words) {
    const said = words.filter((each) => each.verdict !== "neither");
    if (!words.length) return null;
    const name = (each) => `${each.matrix} (${each.end < 0 ? "−" : "+"} end, ${each.sign < 0 ? "negative" : "positive"} activations)`;
    return LA.note(said.length
      ? `The words that it decodes to and the texts it fires on ${said.map((each) => `${each.verdict} for ${name(each)}`).join("; ")}.`
      : "Its decoded words are not what these texts have in common.");
  }

  function contextSection(model, found) {
    if (!found?.contexts.length) return null;
    const { contexts, activity, words, peak } = found;
    const sides = [[1, "Where it is most positive"], [-1, "Where it is most negative"]].map(([sign, title]) => {
      const own = contexts.filter((each) => each.sign === sign);
      return own.length ? h("div", { class: "side" }, h("h3", {}, title), own.map((context) =>
        h("div", { class: "fired" },
          h("p", { class: "meta" }, `${LA.number(context.activation)} · `, LA.link(`${context.dataset}, ${context.text_id}`, ["texts", model, context.dataset, context.text_id])),
          contextText(context, peak)))) : null;
    }).filter(Boolean);
    return LA.section("Texts on which it fires",
      activity ? LA.note(`Above the threshold on ${LA.percent(activity.density)} of ${activity.tokens.toLocaleString("en")} tokens, below the negative one on ${LA.percent(activity.negative_density)}; from ${LA.number(activity.minimum)} to ${LA.number(activity.maximum)}, median ${LA.number(activity.q50)}, mean ${LA.number(activity.mean)}, standard deviation ${LA.number(activity.std)}.`) : null,
      h("div", { class: "sides" }, sides), agreement(words),
      LA.note("Blue: positive, orange: negative; the deeper, the closer to the neuron's strongest activation here. The underlined token is the strongest; hover for values."),
      LA.source(`results/neurons/${model}/contexts.parquet`, `results/neurons/${model}/activity.parquet`));
  }

  function neighbourSection(model, neighbours) {
    if (!neighbours?.length) return null;
    return LA.section("Neighbours", LA.table("nearest neurons by cosine", neighbours.map((each) => ({ ...each, place: each.other_layer * 1e6 + each.other_neuron })), [
      { field: "measure", title: "by", filter: true, meaning: "cosine of this matrix's vectors, or correlation of activations" },
      { field: "rank", title: "rank", numeric: true, width: 90 },
      { field: "place", title: "neuron", numeric: true, format: (_, row) => LA.neuronLink(model, row.other_layer, row.other_neuron) },
      { field: "similarity", title: "similarity", numeric: true },
    ]), LA.source(`results/neurons/${model}/neighbours.parquet`));
  }

  async function rolesSection(run, model, layer, neuron) {
    if (!run.parts.includes("facts")) return null;
    const index = await LA.load(`facts/${model}/index`);
    const found = index.roles.includes(layer) ? (await LA.load(`facts/${model}/roles-${String(layer).padStart(2, "0")}`))[neuron] : null;
    if (!found) return LA.section("In the facts", LA.note("It is not among the listed neurons of any fact of this run."));
    const rows = found.map(([role, relation, fact, subject, rank, score]) => ({ role, relation, fact, subject, rank, score }));
    const byRelation = d3.flatRollup(rows.filter((row) => row.role === "value"), (own) => ({ facts: own.length, mean: d3.mean(own, (row) => row.score) }), (row) => row.relation);
    return LA.section("In the facts",
      byRelation.length ? h("ul", {}, byRelation.map(([relation, own]) => h("li", {}, `${relation}: among the best of ${own.facts} facts, adding ${LA.number(own.mean)} nat on average there`))) : null,
      LA.table("facts with this neuron among the best", rows, [
        { field: "role", title: "role", filter: true, meaning: "value: adds to the answer; query: activates value neurons" },
        { field: "relation", title: "relation", filter: true },
        { field: "subject", title: "fact", filter: true, format: (value, row) => LA.link(LA.marked(value), ["facts", model, row.relation, row.fact]) },
        { field: "rank", title: "rank", numeric: true },
        { field: "score", title: "importance (nat)", numeric: true, meaning: "log-probability increase of the answer, or query score" },
      ], { sort: [{ column: "rank", dir: "asc" }] }));
  }

  function clampSection(model, clamping) {
    if (!clamping) return null;
    const rows = LA.rows(clamping).filter((row) => row.operation !== "none");
    const clean = LA.rows(clamping).filter((row) => row.operation === "none");
    const kinds = d3.groups(rows, (row) => `${row.concept} · ${row.site} · ${row.operation} · ${row.positions} · ${row.role}`);
    return LA.section("Clamped", kinds.map(([name, own]) => {
      const sorted = d3.sort(own.filter((row) => row.value !== null), (row) => row.value);
      const before = clean.find((row) => row.concept === own[0].concept && row.prompt === own[0].prompt);
      return h("div", {}, h("h3", {}, name), LA.note(`Next token after “${own[0].prompt}”.`),
        LA.chart(`probability of the concept ${own[0].concept} at every clamped value`, () => ({
          height: 220, marginLeft: 55, x: { label: "clamped to" }, y: { label: `probability of ${own[0].concept}`, grid: true },
          marks: [
            before ? Plot.ruleY([before.probability], { stroke: LA.chart.PALETTE[7], strokeDasharray: "4 3" }) : null,
            Plot.lineY(sorted, { x: "value", y: "probability", stroke: LA.chart.PALETTE[0], marker: "circle" }),
          ],
        }), before ? `Dashed: ${LA.number(before.probability)}, the model as it is.` : null),
        h("details", {}, h("summary", {}, "What it says at each value"), LA.table("next tokens at every value", sorted, [
          { field: "value", title: "value", numeric: true },
          { field: "probability", title: "probability", numeric: true },
          { field: "rank", title: "best rank", numeric: true },
          { field: "kl", title: "KL (nat)", numeric: true },
          { field: "perplexity", title: "perplexity", numeric: true },
          { field: "top_tokens", title: "most probable next tokens", minWidth: 240, grow: 3, format: (value) => h("span", {}, value.slice(0, 6).map((text) => [LA.token(text), " "])) },
        ])));
    }), LA.source(`results/neurons/${model}/clamping.parquet`));
  }

  function sampleSection(measured) {
    const parts = [];
    if (measured?.validation) {
      parts.push(h("h3", {}, "Does raising it raise the token that it decodes to?"), LA.table("clamps of this sampled neuron", LA.rows(measured.validation), [
        { field: "matrix", title: "matrix" },
        { field: "direction", title: "end", format: (value) => (value < 0 ? "−" : "+") },
        { field: "token", title: "token", format: LA.token },
        { field: "prompt", title: "prompt", wrap: true, minWidth: 180 },
        { field: "logprob_change", title: "change (nat)", numeric: true },
        { field: "control_logprob_change", title: "control (nat)", numeric: true },
        { field: "rank_change", title: "ranks", numeric: true },
      ], { pageSize: 8 }));
    }
    if (measured?.activation) {
      parts.push(h("h3", {}, "Does it fire on the tokens that it decodes to?"), LA.table("where this sampled neuron fires", LA.rows(measured.activation), [
        { field: "matrix", title: "matrix" },
        { field: "sign", title: "end", format: (value) => (value < 0 ? "−" : "+") },
        { field: "here", title: "here", numeric: true, meaning: "share of its strongest positions whose token is among the decoded tokens" },
        { field: "here_chance", title: "by chance", numeric: true },
        { field: "next", title: "next", numeric: true, meaning: "share whose next token is among them" },
        { field: "next_chance", title: "by chance", numeric: true },
        { field: "strongest", title: "strongest", wrap: true, minWidth: 240, grow: 2 },
      ]));
    }
    return parts.length ? LA.section("Tested in a sample", parts) : null;
  }

  async function contextsOf(run, model, layer, neuron) {
    if (!run.parts.includes("contexts")) return null;
    const index = await LA.load(`contexts/${model}/index`);
    const place = index.layers[String(layer)];
    if (!place || neuron >= place.neurons) return null;
    const block = await LA.load(`contexts/${model}/layer-${String(layer).padStart(2, "0")}-${String(Math.floor(neuron / place.block)).padStart(4, "0")}`);
    const own = block.neurons[String(neuron)];
    if (!own) return null;
    const contexts = own.contexts.map((context) => ({ ...context, tokens: context.tokens.map((code) => block.tokens[code]), dataset: index.datasets[context.dataset] }));
    return {
      contexts,
      peak: d3.max(contexts, (context) => Math.abs(context.activation)) || 1,
      activity: own.activity ? LA.rows(own.activity)[0] : null,
      words: own.words ? LA.rows(own.words) : [],
      neighbours: own.neighbours ? LA.rows(own.neighbours) : [],
    };
  }

  LA.views.neuron = async (page, parts, query, run) => {
    const [model, layerText, neuronText] = parts;
    if (!run.models.includes(model)) throw new Error(`there is no model ${model} in this run`);
    const [layer, neuron] = [Number(layerText), Number(neuronText)];
    const index = await LA.load(`neurons/${model}/index`);
    const maps = await decoded(model, index, layer, neuron);
    const measured = index.measured.includes(layer) ? (await LA.load(`neurons/${model}/measured-${String(layer).padStart(2, "0")}`))[neuron] : null;
    const found = await contextsOf(run, model, layer, neuron);
    const last = index.layers.find((each) => each.layer === layer).neurons - 1;
    const step = (to, text) => (to < 0 || to > last ? h("span", { class: "muted" }, text) : LA.link(text, ["neuron", model, layer, to]));
    const missing = [["contexts", found?.contexts.length], ["a clamp curve", measured?.clamping]].filter(([, there]) => !there).map(([name]) => name);
    page.append(...[
      h("p", { class: "crumbs" }, LA.link("Neurons", ["neurons", model]), " › ", LA.link(`layer ${layer}`, ["neurons", model], { browse: layer }), " › ", step(neuron - 1, "← previous"), " · ", step(neuron + 1, "next →")),
      h("h1", {}, `Layer ${layer}, neuron ${neuron}`), h("p", { class: "lead" }, model),
      tokensSection(maps), statisticsSection(maps), contextSection(model, found), await rolesSection(run, model, layer, neuron),
      clampSection(model, measured?.clamping), sampleSection(measured), neighbourSection(model, found?.neighbours),
      missing.length ? LA.note(`This run has no ${missing.join(" and no ")} of this neuron.`) : null,
      LA.source(`results/neurons/${model}/vocabulary.parquet`),
    ].filter(Boolean));
  };
})();
