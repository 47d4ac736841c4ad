// Keeps the page fresh and sends the form without leaving it. The page reads without it, too.
// The server alone writes HTML: what comes from it is compared with what is shown, node by node.
"use strict";

(() => {
  const PERIOD = 2000;
  const AFTER_A_FAILURE = 5000;
  const LIVE = ["ready", "fresh", "facts", "problems", "models", "versions"];

  // Where callers have to show who they are, the page only shows.
  const hasForm = document.querySelector("form") !== null;

  // On a phone the summary comes first: panels are folded until somebody opens them.
  const narrow = matchMedia("(max-width: 44rem)");
  function fold(root) {
    if (!narrow.matches) return;
    for (const one of root.querySelectorAll("details.fold")) one.open = false;
  }

  const byId = (id) => document.getElementById(id);
  const parsed = (text) => new DOMParser().parseFromString(text, "text/html");

  // Makes `shown` equal to `next` and keeps what a person did to it: focus, open details.
  function follow(shown, next) {
    if (shown.isEqualNode(next)) return;
    if (shown.nodeName !== next.nodeName || (shown.id || "") !== (next.id || "")) {
      shown.replaceWith(document.importNode(next, true));
      return;
    }
    if (shown.nodeType !== Node.ELEMENT_NODE) {
      shown.nodeValue = next.nodeValue;
      return;
    }
    for (const { name } of [...shown.attributes]) {
      if (!next.hasAttribute(name) && name !== "open") shown.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) {
      if (name !== "open" && shown.getAttribute(name) !== value) shown.setAttribute(name, value);
    }
    followChildren(shown, next);
  }

  // What has an id is found by it, wherever it was; the rest by its place.
  function followChildren(shown, next) {
    let at = shown.firstChild;
    for (const node of next.childNodes) {
      const known = node.id && [...shown.children].find((one) => one.id === node.id);
      if (known) {
        if (known === at) at = at.nextSibling;
        else shown.insertBefore(known, at);
        follow(known, node);
      } else if (at && !at.id) {
        const after = at.nextSibling;
        follow(at, node);
        at = after;
      } else {
        shown.insertBefore(document.importNode(node, true), at);
      }
    }
    while (at) {
      const after = at.nextSibling;
      at.remove();
      at = after;
    }
  }

  // A list must not change under the hand that chooses from it.
  function followChoices(list, next) {
    if (document.activeElement === list) return;
    const chosen = list.value;
    follow(list, next);
    if ([...list.options].some((one) => one.value === chosen)) list.value = chosen;
  }

  function offerCards() {
    if (!hasForm) return;
    const cards = Number(byId("target").selectedOptions[0]?.dataset.cards || 0);
    for (const option of byId("card").options) {
      option.hidden = option.disabled = option.value !== "" && Number(option.value) >= cards;
    }
    if (byId("card").selectedOptions[0]?.disabled) byId("card").value = "";
  }

  let paused = false;
  let seen = document.querySelector("#fresh time").textContent;
  let timer = 0;

  function later(milliseconds) {
    clearTimeout(timer);
    timer = setTimeout(refresh, milliseconds);
  }

  async function refresh() {
    if (paused || document.hidden) return later(PERIOD);
    try {
      const response = await fetch("./", { cache: "no-store" });
      if (!response.ok) throw new Error(response.statusText);
      const next = parsed(await response.text());
      if (paused) return later(PERIOD);
      fold(next);
      seen = next.querySelector("#fresh time").textContent;
      for (const id of LIVE) follow(byId(id), next.getElementById(id));
      for (const id of hasForm ? ["target", "card"] : []) {
        followChoices(byId(id), next.getElementById(id));
      }
      offerCards();
      later(PERIOD);
    } catch {
      const lost = document.createElement("span");
      lost.className = "lost";
      lost.textContent = `No answer since ${seen}`;
      byId("fresh").replaceChildren(lost);
      later(AFTER_A_FAILURE);
    }
  }

  function say(words) {
    const line = document.createElement("p");
    line.className = "grave words";
    line.textContent = words;
    byId("answer").replaceChildren(line);
  }

  async function send(event) {
    event.preventDefault();
    const form = event.target;
    const button = form.querySelector("button");
    const file = byId("image").files[0];
    if (file && file.size > Number(form.dataset.maxBytes)) {
      say(`The image has ${file.size} bytes, and ${form.dataset.maxBytes} are possible.`);
      return;
    }
    button.disabled = true;
    try {
      const response = await fetch(form.action, { method: "POST", body: new FormData(form) });
      const answer = parsed(await response.text());
      const shown = answer.getElementById("answer");
      if (shown) byId("answer").replaceChildren(...document.importNode(shown, true).childNodes);
      else say(answer.body.textContent.trim() || `The server answered ${response.status}.`);
    } catch {
      say("The server gave no answer: is it still there?");
    } finally {
      button.disabled = false;
    }
  }

  function preview() {
    const picture = byId("preview");
    if (picture.src) URL.revokeObjectURL(picture.src);
    const file = byId("image").files[0];
    picture.hidden = !file;
    if (file) picture.src = URL.createObjectURL(file);
    else picture.removeAttribute("src");
  }

  function pause() {
    paused = !paused;
    byId("pause").textContent = paused ? "Go on" : "Pause";
    if (!paused) refresh();
  }

  if (hasForm) {
    document.querySelector("form").addEventListener("submit", send);
    byId("image").addEventListener("change", preview);
    byId("target").addEventListener("change", offerCards);
    byId("preview").addEventListener("error", () => { byId("preview").hidden = true; });
    preview();
  }
  byId("pause").addEventListener("click", pause);
  byId("pause").hidden = false;
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  offerCards();
  fold(document);
  later(PERIOD);
})();
