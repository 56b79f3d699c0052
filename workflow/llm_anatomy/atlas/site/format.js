"use strict";
// How values read, and where they lead.
Object.assign(LA, (() => {
  const { h } = LA;
  const MISSING = "–";
  const MARKS = { "\n": "↵", "\r": "␍", "\t": "⇥", "\v": "␋", "\f": "␌" };
  const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

  function number(value, digits = 3) {
    if (value === null || value === undefined) return MISSING;
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value).replace("-", "−");
    let text = value.toPrecision(digits);
    if (text.includes("e")) {
      const [mantissa, exponent] = text.split("e");
      if (Number(exponent) > 0 && Number(exponent) < 6) text = String(Math.round(value));
      else {
        const power = String(Math.abs(Number(exponent))).replace(/\d/g, (digit) => SUPERSCRIPTS[digit]);
        text = `${mantissa} × 10${Number(exponent) < 0 ? "⁻" : ""}${power}`;
      }
    }
    return text.replace("-", "−");
  }

  const percent = (value) =>
    value === null || value === undefined ? MISSING : `${number(value * 100, 2)} %`;

  // Whitespace at the ends of a token is part of it, and would not be seen.
  function marked(text) {
    if (text === null || text === undefined) return MISSING;
    return String(text)
      .replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length))
      .replace(/[\n\r\t\v\f]/g, (character) => MARKS[character]);
  }

  const token = (text) => h("span", { class: "token" }, marked(text));

  // Links and addresses: `#/neuron/MODEL/LAYER/NEURON?name=value`.
  function address(parts, query = {}) {
    const path = parts.map((part) => encodeURIComponent(part)).join("/");
    const filled = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
    const tail = new URLSearchParams(filled).toString();
    return `#/${path}${tail ? `?${tail}` : ""}`;
  }

  const link = (text, parts, query, attributes = {}) =>
    h("a", { href: address(parts, query), ...attributes }, text);

  const neuronLink = (model, layer, neuron) =>
    link(`L${layer} · ${neuron}`, ["neuron", model, layer, neuron], {}, {
      "aria-label": `layer ${layer}, neuron ${neuron}`,
    });

  // A labelled list to choose from; `options` are values or [value, text].
  function select(label, options, value, change) {
    const list = h("select", { "aria-label": label, on: { change: (event) => change(event.target.value) } },
      options.map((option) => {
        const [key, text] = Array.isArray(option) ? option : [option, option];
        return h("option", { value: key, selected: String(key) === String(value) }, String(text));
      }));
    return h("label", { class: "field" }, h("span", {}, label), list);
  }

  const section = (title, ...children) => h("section", {}, h("h2", {}, title), ...children);
  const note = (...children) => h("p", { class: "note" }, ...children);
  const source = (...names) =>
    h("p", { class: "source" }, "From ", names.map((name, i) => [i ? ", " : "", h("code", {}, name)]), ".");
  const fail = (error) => h("p", { class: "error", role: "alert" }, `${error.message}.`);

  return { number, percent, marked, token, address, link, neuronLink, select, section, note, source, fail };
})());
