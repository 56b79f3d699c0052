"use strict";
// Addresses in the hash, one view at a time.
LA.router = (() => {
  let run = null;
  let turn = 0;
  let first = true;

  function parse(hash) {
    const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
    let parts;
    try {
      parts = path.split("/").filter(Boolean).map(decodeURIComponent);
    } catch {
      parts = ["unreadable address"];
    }
    return { parts, query: Object.fromEntries(new URLSearchParams(query)) };
  }

  // Change the address without a step back to every letter typed.
  function replace(parts, query) {
    history.replaceState(null, "", LA.address(parts, query));
  }

  const go = (parts, query) => { location.hash = LA.address(parts, query); };

  async function show() {
    const mine = ++turn;
    const { parts, query } = parse(location.hash);
    const [name = "home", ...rest] = parts;
    const main = document.getElementById("main");
    const view = Object.hasOwn(LA.views, name) ? LA.views[name] : null;
    for (const item of document.querySelectorAll("nav a[data-view]")) {
      const here = item.dataset.view === (name === "neuron" ? "neurons" : name);
      if (here) item.setAttribute("aria-current", "page");
      else item.removeAttribute("aria-current");
    }
    const page = LA.h("div", { class: `view view-${view ? name : "none"}` });
    try {
      if (!view) throw new Error(`there is no page ${location.hash}`);
      await view(page, rest, query, run);
    } catch (error) {
      page.append(LA.h("h1", {}, "Nothing here"), LA.fail(error));
    }
    if (mine !== turn) return;
    main.replaceChildren(page);
    const heading = page.querySelector("h1");
    document.title = `${heading ? heading.textContent : "Atlas"} · LLM Anatomy`;
    main.dataset.ready = location.hash || "#/";
    if (!first) {
      window.scrollTo(0, 0);
      if (heading) {
        heading.tabIndex = -1;
        heading.focus({ preventScroll: true });
      }
    }
    first = false;
  }

  function theme() {
    const key = "llm-anatomy-theme";
    const read = () => { try { return localStorage.getItem(key); } catch { return null; } };
    const apply = (value) => {
      if (value) document.documentElement.dataset.theme = value;
    };
    apply(read());
    document.getElementById("theme").addEventListener("click", () => {
      const dark = getComputedStyle(document.documentElement).getPropertyValue("--is-dark").trim() === "1";
      const next = dark ? "light" : "dark";
      apply(next);
      try { localStorage.setItem(key, next); } catch { /* a page from disk may have no storage */ }
    });
  }

  async function start() {
    theme();
    run = await LA.load("assets/run");
    for (const item of document.querySelectorAll("nav a[data-part]")) {
      item.parentElement.hidden = !run.parts.includes(item.dataset.part);
    }
    document.querySelector("nav a[data-view=models]").parentElement.hidden = run.models.length < 2;
    // The address in the hash is the view's, so that this link may not set it.
    document.querySelector("a.skip").addEventListener("click", (event) => {
      event.preventDefault();
      document.getElementById("main").focus();
    });
    window.addEventListener("hashchange", show);
    await show();
  }

  // The model that an address names, and a list to choose another.
  function model(run_, name, part, change) {
    const chosen = run_.models.includes(name) ? name : run_.models[0];
    const list = run_.models.length > 1 ? LA.select("model", run_.models, chosen, change) : null;
    return { chosen, list, known: name === undefined || run_.models.includes(name), part };
  }

  document.addEventListener("DOMContentLoaded", start);
  return { replace, go, model };
})();
