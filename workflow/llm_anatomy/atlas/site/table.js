"use strict";
// Tables are Tabulator's; its cells are given nodes, never text that it would read as markup.
/* global Tabulator */
LA.table = (() => {
  const { h } = LA;

  function column(spec) {
    const format = spec.format ?? ((value) => (spec.numeric ? LA.number(value) : LA.marked(value)));
    const made = {
      title: spec.title,
      field: spec.field,
      headerSortStartingDir: spec.numeric ? "desc" : "asc",
      sorter: spec.numeric ? "number" : "string",
      sorterParams: spec.numeric ? { alignEmptyValues: "bottom" } : {},
      hozAlign: spec.numeric ? "right" : "left",
      headerHozAlign: spec.numeric ? "right" : "left",
      headerTooltip: false,
      minWidth: spec.minWidth ?? 60,
      widthGrow: spec.grow ?? 1,
      formatter: (cell) => {
        const shown = format(cell.getValue(), cell.getData());
        return shown instanceof Node ? shown : document.createTextNode(shown ?? "–");
      },
      titleFormatter: () =>
        h("button", { type: "button", class: "sort", title: spec.meaning ?? null }, spec.title),
    };
    if (spec.wrap) made.cssClass = "wrap";
    if (spec.width) made.width = spec.width;
    if (spec.filter) {
      made.headerFilter = "input";
      made.headerFilterPlaceholder = "filter";
      made.headerFilterParams = { elementAttributes: { "aria-label": `filter by ${spec.title}` } };
      if (spec.filterText) {
        made.headerFilterFunc = (wanted, value, row) =>
          spec.filterText(value, row).toLowerCase().includes(wanted.trim().toLowerCase());
      }
    }
    return made;
  }

  // A table in a labelled frame. `columns`: field, title, numeric, format, filter, meaning.
  function table(label, data, columns, options = {}) {
    const holder = h("div", { class: "table" });
    const frame = h("div", { class: "table-frame", role: "region", "aria-label": label, tabindex: "0" }, holder);
    const size = options.pageSize ?? 15;
    const grid = new Tabulator(holder, {
      data,
      columns: columns.map(column),
      layout: options.layout ?? (columns.some((each) => each.wrap) ? "fitColumns" : "fitDataTable"),
      renderVertical: "basic",
      renderHorizontal: "basic",
      pagination: data.length > size || Boolean(options.grows),
      paginationSize: size,
      paginationCounter: "rows",
      initialSort: options.sort ?? [],
      placeholder: options.empty ?? "nothing to show",
      selectableRows: false,
      headerSortElement: () => h("span", { class: "arrow", "aria-hidden": "true" }),
      rowFormatter: options.row ? (row) => options.row(row.getElement(), row.getData()) : false,
    });
    frame.grid = grid;
    grid.on("tableBuilt", () => frame.dispatchEvent(new Event("built")));
    return frame;
  }

  return table;
})();
