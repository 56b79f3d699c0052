"use strict";
// Patching: the answer at every layer under a manipulation of the previous tokens.
/* global Plot, d3 */
(() => {
  const { h } = LA;
  const COLOURS = { original: LA.chart.PALETTE[0], donor: LA.chart.PALETTE[1], other: LA.chart.PALETTE[7] };
  const whose = (row) => (row.correct ? "original" : row.donor_correct ? "donor" : "other");

  // Names of curves that are shares or scores of the answer, the first that the task has.
  LA.curveOf = (curves, manipulation, metric) =>
    d3.sort(curves.filter((row) => row.manipulation === manipulation && row.metric === metric && row.subset === "all"), (row) => row.layer);

  function curves(own, manipulation, state, change) {
    const rows = LA.rows(own.curves).filter((row) => row.manipulation === manipulation);
    const metrics = [...new Set(rows.map((row) => row.metric))];
    const metric = metrics.includes(state.metric) ? state.metric : metrics[0];
    const subsets = [...new Set(rows.map((row) => row.subset))];
    const subset = subsets.includes(state.subset) ? state.subset : subsets[0];
    const strengths = [...new Set(rows.map((row) => row.strength))];
    const shown = rows.filter((row) => row.metric === metric && row.subset === subset);
    if (!shown.length) return LA.note("No curve was made of this manipulation.");
    const colour = (row) => LA.chart.PALETTE[strengths.indexOf(row.strength) % 10];
    return [
      h("div", { class: "controls" },
        LA.select("what is averaged", metrics, metric, (value) => change({ metric: value })),
        LA.select("over", subsets.map((name) => [name, name === "all" ? "all examples" : "those answered rightly"]), subset, (value) => change({ subset: value }))),
      LA.chart(`mean ${metric} over examples at every layer k, with its interval`, () => ({
        height: 260, marginLeft: 55, x: LA.chart.layers("layer k", shown.map((row) => row.layer)), y: { label: metric.replaceAll("_", " "), grid: true },
        marks: [
          shown[0].baseline !== null ? Plot.ruleY([shown[0].baseline], { stroke: LA.chart.PALETTE[2], strokeDasharray: "4 3" }) : null,
          shown[0].chance !== null ? Plot.ruleY([shown[0].chance], { stroke: LA.chart.PALETTE[7], strokeDasharray: "1 3" }) : null,
          Plot.areaY(shown, { x: "layer", y1: "low", y2: "high", z: "strength", fill: colour, fillOpacity: 0.2 }),
          Plot.lineY(shown, { x: "layer", y: "value", z: "strength", stroke: colour }),
          Plot.dot(shown, { x: "layer", y: "value", fill: colour, r: 3, title: (row) => `k = ${row.layer}: ${LA.number(row.value)} [${LA.number(row.low)}, ${LA.number(row.high)}], ${row.examples} examples` }),
        ],
      }), `Band: 95 % interval (${shown[0].interval}) over ${shown[0].examples} examples${shown[0].seeds > 1 ? `, ${shown[0].seeds} seeds` : ""}. Dashed: the clean model, ${LA.number(shown[0].baseline)}${shown[0].chance !== null ? `; dotted: chance, ${LA.number(shown[0].chance)}` : ""}.`),
      strengths.length > 1 ? LA.chart.legend(strengths.map((strength) => [`${LA.number(strength)}°`, colour({ strength })])) : null,
    ];
  }

  const named = (donor) => LA.marked(donor.subject || donor.prompt);

  function ladder(rows, donors) {
    const kinds = new Set(rows.map(whose));
    return LA.table("answer at every layer k", rows, [
      { field: "layer", title: "k", numeric: true, width: 70, meaning: "the input of block k is manipulated, counted from 0" },
      ...(rows.some((row) => row.seed > 0) ? [{ field: "seed", title: "draw", numeric: true, width: 80 }] : []),
      ...(rows.some((row) => row.strength !== null) ? [{ field: "strength", title: "angle", numeric: true, width: 90 }] : []),
      ...(donors.length > 1 && rows.some((row) => row.donor_id !== null) ? [{ field: "donor_id", title: "donor", filter: true, format: (value) => { const donor = donors.find((each) => each.donor === value); return donor ? named(donor) : value ?? "–"; } }] : []),
      { field: "prediction", title: "answer", minWidth: 160, grow: 2, filter: true, format: (value, row) => h("span", { class: `answer ${whose(row)}`, style: { "--colour": COLOURS[whose(row)] } }, LA.marked(value)) },
      { field: "correct", title: "whose", format: (_, row) => whose(row), meaning: "the original's answer, the donor's, or another" },
      { field: "gold_logprob", title: "log p (nat)", numeric: true, meaning: "of the right answer's first token" },
      { field: "gold_rank", title: "rank", numeric: true },
      ...(kinds.has("donor") || rows.some((row) => row.donor_logprob !== null) ? [{ field: "donor_logprob", title: "donor's log p", numeric: true }, { field: "donor_rank", title: "donor's rank", numeric: true }] : []),
      { field: "kl", title: "KL (nat)", numeric: true, meaning: "of the next-token distribution from the clean one" },
    ], { pageSize: 40, sort: [{ column: "layer", dir: "asc" }] });
  }

  const donorNote = (donors) => (donors.length ? ` ${donors.length > 1 ? `It has ${donors.length} donors: ` : "The donor is "}${donors.map((donor) => `“${named(donor)}”, whose answer is ${LA.marked(donor.answer)}`).join("; ")}.` : "");

  function exampleChart(rows, clean) {
    const lines = d3.sort(rows, (row) => row.layer);
    return [
      LA.chart("log-probability of the original's and the donor's answer at every layer", () => ({
        height: 220, marginLeft: 55, x: LA.chart.layers("layer k", lines.map((row) => row.layer)), y: { label: "log p (nat)", grid: true },
        marks: [
          clean ? Plot.ruleY([clean.gold_logprob], { stroke: COLOURS.original, strokeDasharray: "4 3" }) : null,
          Plot.dot(lines, { x: "layer", y: "gold_logprob", stroke: COLOURS.original, fill: (row) => COLOURS[whose(row)], r: 3.5, title: (row) => `k = ${row.layer}: ${LA.marked(row.prediction)} (${whose(row)}), log p ${LA.number(row.gold_logprob)}, rank ${row.gold_rank}` }),
          Plot.dot(lines.filter((row) => row.donor_logprob !== null), { x: "layer", y: "donor_logprob", stroke: COLOURS.donor, symbol: "triangle", r: 3.5, title: (row) => `k = ${row.layer}: donor's answer, log p ${LA.number(row.donor_logprob)}` }),
        ],
      }), "Circles: the original's answer, filled by whose answer was given; triangles: the donor's; dashed: the clean model."),
      LA.chart.legend([["original's answer", COLOURS.original], ["donor's", COLOURS.donor], ["another", COLOURS.other]]),
    ];
  }

  LA.views.patching = async (page, parts, query, run) => {
    const { chosen: model, list } = LA.router.model(run, parts[0], "patching", (name) => LA.router.go(["patching", name]));
    const index = await LA.load(`patching/${model}/index`);
    const tasks = Object.keys(index.tasks);
    const task = tasks.includes(parts[1]) ? parts[1] : tasks[0];
    const own = index.tasks[task];
    const examples = LA.rows(own.examples);
    const asked = parts[2] !== undefined && parts[2] !== "";
    const example = examples.find((each) => each.example_id === parts[2]) ?? (asked ? null : examples[0]);
    if (parts[1] !== undefined && parts[1] !== task) throw new Error(`there is no task ${parts[1]} in this run`);
    if (!example) throw new Error(`there is no example ${parts[2]} of ${task} in this run`);
    const manipulation = own.manipulations.includes(parts[3]) ? parts[3] : own.manipulations.includes("switch") ? "switch" : own.manipulations[0];
    const state = { metric: "", subset: "", ...query };
    const go = (changes) => LA.router.go(["patching", model, changes.task ?? task, changes.example ?? (changes.task ? "" : example.example_id), changes.manipulation ?? manipulation], state);
    const found = await LA.loadPacked(`patching/${model}/examples`, `${task}/${example.example_id}`);
    const clean = found.sweeps.none ? LA.rows(found.sweeps.none)[0] : null;
    const rows = found.sweeps[manipulation] ? LA.rows(found.sweeps[manipulation]) : [];
    const curveHolder = h("div", {});
    const change = (values) => {
      Object.assign(state, values);
      LA.router.replace(["patching", model, task, example.example_id, manipulation], state);
      curveHolder.replaceChildren(...[curves(own, manipulation, state, change)].flat().filter(Boolean));
    };
    curveHolder.replaceChildren(...[curves(own, manipulation, state, change)].flat().filter(Boolean));
    page.append(...[
      h("h1", {}, "Patching"),
      h("p", { class: "lead" }, "From which layer on can the previous tokens be disturbed without changing the answer?"),
      h("form", { class: "controls", on: { submit: (event) => event.preventDefault() } }, list,
        LA.select("task", tasks, task, (value) => go({ task: value })),
        LA.select("manipulation", own.manipulations, manipulation, (value) => go({ manipulation: value })),
        LA.select("example", examples.map((each) => [each.example_id, `${each.subject || each.example_id} → ${each.answer}`]), example.example_id, (value) => go({ example: value }))),
      LA.section(`${LA.marked(example.subject || example.example_id)} → ${LA.marked(example.answer)}`,
        h("p", { class: "prompt", dir: "auto" }, example.prompt),
        LA.note(`The clean model answers “${LA.marked(clean?.prediction ?? example.prediction)}” (${!clean || clean.correct === null ? "not judged" : clean.correct ? "right" : "not right"}).${manipulation === "switch" ? donorNote(found.donors) : ""}`),
        rows.length ? [exampleChart(rows, clean), ladder(rows, found.donors)] : LA.note("This example takes no part in this manipulation; the intake table says why.")),
      LA.section("Over all examples", curveHolder),
      LA.section("All examples", LA.table("examples of the task", examples, [
        { field: "subject", title: "subject", filter: true, format: (value, row) => LA.link(LA.marked(value || row.example_id), ["patching", model, task, row.example_id, manipulation]) },
        { field: "answer", title: "right answer", filter: true },
        { field: "prediction", title: "clean model says", filter: true },
        { field: "correct", title: "right", format: (value) => (value === null ? "–" : value ? "yes" : "no") },
        { field: "gold_logprob", title: "log p (nat)", numeric: true },
      ])),
      LA.source(`results/patching/${model}/${task}/sweeps.parquet`, `results/patching/${model}/${task}/curves.parquet`),
    ].filter(Boolean));
  };
})();
