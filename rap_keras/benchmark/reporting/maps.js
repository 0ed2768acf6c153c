// Selects methods and images, sets their size, and enlarges one of them.
const sections = [...document.querySelectorAll("section")];
const dialog = document.querySelector("dialog");

document.querySelector("#find").addEventListener("input", (event) => {
  const text = event.target.value.toLowerCase();
  for (const section of sections) {
    section.hidden = !section.querySelector("h2").textContent.toLowerCase().includes(text);
  }
});
document.querySelector("#side").addEventListener("input", (event) => {
  document.body.style.setProperty("--side", `${event.target.value}px`);
});
for (const box of document.querySelectorAll("[data-method]")) {
  box.addEventListener("change", () => {
    for (const figure of document.querySelectorAll(`section [data-of="${box.dataset.method}"]`)) {
      figure.hidden = !box.checked;
    }
  });
}

let shown = null;
function show(figure) {
  shown = figure;
  const section = figure.closest("section");
  const photo = section.querySelector('[data-of="image"]');
  const pair = photo && photo !== figure ? [photo, figure] : [figure];
  dialog.querySelector("h2").textContent = section.querySelector("h2").textContent;
  dialog.querySelector(".maps").replaceChildren(
    ...pair.map((one) => {
      const copy = document.createElement("figure");
      const image = document.createElement("img");
      const caption = document.createElement("figcaption");
      image.src = one.querySelector("img").src;
      caption.textContent = image.alt = one.querySelector("figcaption").textContent;
      copy.append(image, caption);
      return copy;
    }),
  );
  if (!dialog.open) dialog.showModal();
}

// Left and right move between methods, up and down between images.
function moved(key) {
  const seen = (figure) => !figure.hidden;
  const section = shown.closest("section");
  const row = [...section.querySelectorAll("figure")].filter(seen);
  const column = row.indexOf(shown);
  if (key === "ArrowLeft") return row[column - 1];
  if (key === "ArrowRight") return row[column + 1];
  const among = sections.filter((one) => !one.hidden);
  const next = among[among.indexOf(section) + (key === "ArrowDown" ? 1 : -1)];
  return next && next.querySelector(`[data-of="${shown.dataset.of}"]`);
}

document.addEventListener("click", (event) => {
  const figure = event.target.closest("section figure");
  if (figure) show(figure);
  else if (event.target === dialog || event.target.closest("dialog [data-close]")) dialog.close();
});
document.addEventListener("keydown", (event) => {
  if (!dialog.open || !event.key.startsWith("Arrow")) return;
  event.preventDefault();
  const next = moved(event.key);
  if (next) show(next);
});
