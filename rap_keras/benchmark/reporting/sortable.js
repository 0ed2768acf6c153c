// A click on a heading sorts the rows by that column. Controls, in a separate body, stay below.
for (const table of document.querySelectorAll("table.numbers")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      for (const body of table.tBodies) {
        const rows = [...body.rows].map((row) => [key(row.cells[column].textContent, column), row]);
        rows.sort(([a], [b]) => compared(a, b, rising));
        body.append(...rows.map(([, row]) => row));
      }
    });
  });
}

// The first number of a cell, as in "0.52 ± 0.03", "(4.1 ± 0.3)e-7" or "< 0.001"; null if there is none.
function key(text, column) {
  if (column === 0) return text;
  const found = text.match(/^[(<>\s]*([+-]?[\d.]+)/);
  if (!found) return null;
  const exponent = text.match(/\)e([+-]?\d+)/);
  return Number(found[1]) * 10 ** Number(exponent ? exponent[1] : 0);
}

// Undefined values come last in both directions.
function compared(a, b, rising) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "string" ? a.localeCompare(b) : a - b;
  return rising ? order : -order;
}
