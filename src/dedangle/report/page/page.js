"use strict";
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const findings = all("details");
  const filters = document.getElementById("filters");
  if (!filters) return;
  const search = document.getElementById("search");
  const shown = document.getElementById("shown");
  const choices = all("select", filters);
  const texts = new Map();

  function text(finding) {
    if (!texts.has(finding)) texts.set(finding, finding.textContent.toLowerCase());
    return texts.get(finding);
  }

  function apply() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = choices.filter((each) => each.value !== "*").map((each) => [each.dataset.field, each.value.slice(1)]);
    let count = 0;
    for (const finding of findings) {
      const wanted =
        chosen.every(([field, value]) => (finding.dataset[field] ?? finding.parentNode.dataset[field]) === value) &&
        words.every((word) => text(finding).includes(word));
      finding.hidden = !wanted;
      count += wanted;
    }
    for (const section of all(".code")) {
      const left = all("details:not([hidden])", section).length;
      section.hidden = !left;
      section.querySelector(".many").textContent = left;
    }
    for (const group of all(".group")) group.hidden = !group.querySelector(".code:not([hidden])");
    shown.textContent = count === findings.length ? `${count} shown` : `${count} of ${findings.length} shown`;
  }

  async function copy(button, copied) {
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(copied);
      button.textContent = "Copied";
    } catch {
      // Some browsers do not let a local file use the clipboard.
      const area = document.body.appendChild(document.createElement("textarea"));
      area.value = copied;
      area.select();
      button.textContent = document.execCommand("copy") ? "Copied" : "Not copied";
      area.remove();
      button.focus();
    }
    setTimeout(() => { button.textContent = before; }, 1200);
  }

  // The buttons of a finding are created when it is opened: forty thousand of them at once would be slow.
  function furnish(finding) {
    if (!finding.open || finding.dataset.furnished) return;
    finding.dataset.furnished = "yes";
    for (const code of all("[data-kind]", finding)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy";
      button.value = code.textContent;
      button.setAttribute("aria-label", `Copy ${code.dataset.kind} ${button.value}`);
      code.append(" ", button);
    }
  }

  function setOpen(open) {
    for (const finding of findings) if (!finding.hidden) finding.open = open;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.value) copy(button, button.value);
    if (button.dataset.bulk) {
      const of = `details:not([hidden]) [data-kind="${button.dataset.bulk}"]`;
      const values = all(of, button.closest(".code")).map((each) => each.firstChild.data);
      copy(button, Array.from(new Set(values)).join("\n"));
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
    }
  });
  document.addEventListener("toggle", (event) => {
    if (event.target.matches("details")) furnish(event.target);
  }, true);
  search.addEventListener("input", apply);
  for (const each of choices) each.addEventListener("change", apply);
  document.getElementById("clear").addEventListener("click", () => {
    search.value = "";
    for (const each of choices) each.value = "*";
    apply();
    search.focus();
  });
  document.getElementById("unfold").addEventListener("click", () => setOpen(true));
  document.getElementById("fold").addEventListener("click", () => setOpen(false));

  // On paper everything is open, as far as the browser tells in time.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = findings.filter((each) => !each.open && !each.hidden);
    for (const each of folded) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of folded) each.open = false;
  });

  filters.hidden = false;
  for (const bulk of all(".bulk")) bulk.hidden = false;
  for (const finding of all("details[open]")) furnish(finding);
  shown.textContent = `${findings.length} shown`;
})();
