// Verdicts on pictures: what is pressed here is pressed wherever the picture is shown, and can be downloaded.
// The element that holds this script is all of one detector: the page, or a part of it.
(page => {
"use strict";
const verdicts = new Map(); // path -> "good" or "defective"
const groups = [...page.querySelectorAll(".verdict")], bar = page.querySelector(".verdicts");
const count = bar.querySelector("output"), download = bar.querySelector("button");
let saved = true;

function show() {
  for (const group of groups)
    for (const button of group.children)
      button.setAttribute("aria-pressed", verdicts.get(group.dataset.path) === button.dataset.verdict);
  const goods = [...verdicts.values()].filter(verdict => verdict === "good").length;
  count.value = verdicts.size ? `${goods} good, ${verdicts.size - goods} defective.` : "No verdict yet.";
  download.disabled = !verdicts.size;
}

page.addEventListener("click", event => {
  const button = event.target.closest(".verdict button");
  if (!button) return;
  const path = button.parentElement.dataset.path, verdict = button.dataset.verdict;
  if (verdicts.get(path) === verdict) verdicts.delete(path); // pressed again, it is taken back
  else verdicts.set(path, verdict);
  saved = !verdicts.size;
  show();
});

download.addEventListener("click", () => {
  const content = {
    format: "promptad verdicts",
    detector_sha256: bar.dataset.detector,
    verdicts: [...verdicts].map(([path, verdict]) => ({ path, verdict })),
  };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1) + "\n"], { type: "application/json" }));
  link.download = "verdicts.json";
  link.click();
  URL.revokeObjectURL(link.href);
  saved = true;
});

addEventListener("beforeunload", event => {
  if (!saved) event.preventDefault();
});
})(document.currentScript.parentElement);
