"use strict";
// Chunks of data, loaded by script elements because a page from disk may not fetch; and elements,
// built from text alone, so that nothing that a table holds is ever read as markup.
const LA = (() => {
  const waiting = new Map();
  const kept = new Map();
  let keptCharacters = 0;
  // Payload characters that stay in memory; documents take about eight times as much.
  const MOST_KEPT = 8e6;

  async function inflate(payload) {
    const text = atob(payload);
    const bytes = new Uint8Array(text.length);
    // `Uint8Array.from` walks a text by its iterator: most of a search's time, before this loop.
    for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  // Every chunk's script calls this.
  function chunk(name, payload) {
    const request = waiting.get(name);
    if (request) request.resolve(payload);
  }

  function request(name) {
    const script = document.createElement("script");
    const done = new Promise((resolve, reject) => {
      waiting.set(name, { resolve });
      script.src = `${name.split("/").map(encodeURIComponent).join("/")}.js`;
      script.onerror = () => reject(new Error(`the data ${name} cannot be loaded`));
      script.onload = () => reject(new Error(`the data ${name} is damaged`));
      document.head.append(script);
    });
    return done.finally(() => {
      waiting.delete(name);
      script.remove();
    });
  }

  // The document of a chunk; chunks that were used last stay in memory.
  function load(name) {
    let entry = kept.get(name);
    if (entry) {
      kept.delete(name);
      kept.set(name, entry);
      return entry.document;
    }
    entry = { size: 0 };
    entry.document = request(name).then((payload) => {
      entry.size = payload.length;
      keptCharacters += entry.size;
      for (const [other, old] of kept) {
        if (keptCharacters <= MOST_KEPT) break;
        if (other === name || !old.size) continue;
        kept.delete(other);
        keptCharacters -= old.size;
      }
      return inflate(payload);
    });
    entry.document.catch(() => kept.delete(name));
    kept.set(name, entry);
    return entry.document;
  }

  // One of the documents that `packed` put into chunks together.
  async function loadPacked(prefix, key) {
    const places = await load(prefix);
    if (!Object.hasOwn(places, key)) throw new Error(`there is no ${key} in ${prefix}`);
    const documents = await load(`${prefix}-${String(places[key]).padStart(4, "0")}`);
    return documents[key];
  }

  // An element; attributes are plain values, `on` holds listeners, children are nodes or text.
  function h(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "on") {
        for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
      } else if (name === "style") {
        for (const [key, setting] of Object.entries(value)) element.style.setProperty(key, setting);
      } else if (value !== null && value !== undefined && value !== false) {
        element.setAttribute(name, value === true ? "" : String(value));
      }
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
    return element;
  }

  // Columns of a table as one object per row.
  function rows(columns) {
    const names = Object.keys(columns);
    const count = names.length ? columns[names[0]].length : 0;
    return Array.from({ length: count }, (_, row) =>
      Object.fromEntries(names.map((name) => [name, columns[name][row]])),
    );
  }

  return { chunk, load, loadPacked, h, rows, views: {} };
})();
