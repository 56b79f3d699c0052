"use strict";
// Tables of the report sort by a click or Enter on a heading (Tablesort) and show the rows that hold
// what is typed above them. Without scripts they stand as they are.
/* global Tablesort */
Tablesort.extend("value", () => false, (a, b) => {
  const [left, right] = [a, b].map((text) => (text.trim() === "" ? -Infinity : Number(text)));
  return left === right ? 0 : left > right ? -1 : 1;
});
for (const table of document.querySelectorAll("table")) {
  if (table.rows.length < 3) continue;
  for (const heading of table.tHead.rows[0].cells) {
    if (heading.classList.contains("number")) heading.dataset.sortMethod = "value";
  }
  new Tablesort(table);
  if (table.rows.length < 8) continue;
  const box = document.createElement("input");
  box.type = "search";
  const label = document.createElement("label");
  label.className = "filter";
  label.append("show rows with ", box);
  box.addEventListener("input", () => {
    const wanted = box.value.trim().toLowerCase();
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
  (table.closest(".scroll") ?? table).before(label);
}
