// Asks for the page again every 30 s and puts the answer in place of what is shown. The server renders in either
// case: numbers written a second time here would sooner or later be written differently.
"use strict";
const EVERY_MS = 30000;
let shownAt = new Date();

async function refresh() {
  if (document.hidden) return;
  const offline = () => document.getElementById("offline");
  try {
    const answer = await fetch(location.href, {cache: "no-store", signal: AbortSignal.timeout(20000)});
    if (!answer.ok) throw new Error(`it answered ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("page");
    if (!fresh) throw new Error("something else answered");
    for (const open of document.querySelectorAll("details[open]")) {
      const same = fresh.querySelector("#" + open.id);
      if (same) same.open = true;
    }
    for (const part of ["section.provenance", "main"]) {
      const focused = document.querySelector(part).contains(document.activeElement);
      // Somebody moves through the links with the keyboard: taking the focused one away would throw them to the top.
      if (!focused) document.querySelector(part).replaceWith(fresh.querySelector(part));
    }
    shownAt = new Date();
    offline().hidden = true;
  } catch (error) {
    offline().textContent =
      `The dashboard has not answered since ${shownAt.toLocaleTimeString()}; what you see is from then (${error.message}).`;
    offline().hidden = false;
  }
}

setInterval(refresh, EVERY_MS);
document.addEventListener("visibilitychange", refresh);
