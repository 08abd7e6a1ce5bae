// The admin's first page: what others open and close comes by itself, what one does oneself leaves the page where it is.

const table = document.querySelector("table[data-live]");
const rows = table.tBodies[0].rows;
const said = document.getElementById("said");
const stale = document.getElementById("stale");
const all = document.getElementById("all");
const language = document.documentElement.lang;
const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const UNDO_MS = 10 * MINUTE, HIDDEN_MS = MINUTE, SILENT_MS = 10 * SECOND, FADE_MS = 400, MOST_ROWS = 300;
const LATER_MS = 3 * SECOND, LATEST_MS = MINUTE, PRESS_MS = 10 * SECOND, TAP_MS = 400;
let { mark } = table.dataset;
let source, silent, hidden, undo, retry, failures = 0;
let behind = false; // what is shown is older than the mark says
let press = 0; // a timer, for a press of whose end nobody tells
const held = [];

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

const find = (key) => [...rows].find((row) => row.dataset.key === key);
const number = (text) => Number(text.split("-")[1]);

// Tells moments.js, and how long it lasts.
function begin(row) {
  row.ends = Date.now() + Number(row.dataset.leftMs);
  row.dispatchEvent(new Event("put", { bubbles: true }));
  tell(row);
}

// Nothing moves or comes in the place of what is being pressed: the press would end on something else. A finger's click comes
// some time after the finger has gone, and where it was looks anew what is there.
function unpressed(act) {
  if (press) {
    held.push(act);
  } else {
    act();
  }
}

function hold(ms) {
  clearTimeout(press);
  press = setTimeout(() => {
    press = 0;
    held.splice(0).forEach((act) => act());
  }, ms);
}

addEventListener("pointerdown", () => hold(PRESS_MS));
addEventListener("pointerup", () => hold(TAP_MS));
for (const end of ["pointercancel", "click"]) {
  addEventListener(end, () => press && hold(0)); // whatever it does comes before that
}
addEventListener("keydown", ({ key }) => key === " " && hold(PRESS_MS));
addEventListener("keyup", ({ key }) => key === " " && hold(0));

// Focus stays on the same button of the same row, whatever becomes of the element.
function keepFocus(change) {
  const button = document.activeElement;
  const row = button.closest?.("tr[data-key]");
  const next = row?.nextElementSibling?.dataset.key ?? row?.previousElementSibling?.dataset.key;
  change();
  if (row && !button.isConnected) {
    const same = [find(row.dataset.key), find(next)].find((other) => other && !other.classList.contains("over"));
    const action = button.getAttribute("formaction");
    const found = same?.querySelector(action ? `[formaction="${action}"]` : "button:not([formaction])");
    found?.focus({ preventScroll: true });
  }
}

function leave(row) {
  row.classList.add("over");
  const remove = () => {
    keepFocus(() => row.remove());
    count();
  };
  setTimeout(() => unpressed(remove), FADE_MS);
}

function put(row) {
  const there = find(row.dataset.key);
  if (there?.dataset.sort === row.dataset.sort) {
    there.replaceWith(row);
  } else {
    there?.remove();
    const after = [...rows].find((other) => other.dataset.sort > row.dataset.sort);
    const { page, pages } = table.dataset;
    // It stands on another page of the list.
    if (rows.length && ((!after && page !== pages) || (after === rows[0] && page !== "1"))) {
      return;
    }
    table.tBodies[0].insertBefore(row, after ?? null);
    row.classList.add("fresh");
  }
  begin(row);
}

function count(known) {
  const there = rows.length > 0;
  const number = table.dataset.pages === "1" ? rows.length : known;
  if (number !== undefined) {
    all.textContent = all.dataset.words.replace("{}", new Intl.NumberFormat(language).format(number));
  }
  all.hidden = table.parentElement.hidden = !there;
  document.getElementById("none").hidden = there;
}

function show(told) {
  const [kind, name] = Object.entries(told.scope)[0];
  const keys = new Set(told.rows.map((row) => row.key));
  keepFocus(() => {
    for (const row of rows) {
      if (row.dataset[kind] === name && !keys.has(row.dataset.key)) {
        leave(row);
      }
    }
    for (const { html } of told.rows) {
      put(parse(html).querySelector("tr"));
    }
  });
  count();
  if (rows.length > MOST_ROWS) {
    again();
  }
}

// Focus stays on what leads to the same place, or stands where it stood.
function fill(id, html) {
  const place = document.getElementById(id);
  const open = place.querySelector("details")?.open;
  const reached = () => [...place.querySelectorAll("a, summary")];
  const at = reached().indexOf(document.activeElement);
  const to = document.activeElement.href;
  place.innerHTML = html;
  if (open) {
    place.querySelector("details")?.setAttribute("open", "");
  }
  if (at >= 0) {
    const now = reached();
    const same = now.slice(at).find((one) => one.href === to); // what is new stands above
    (same ?? now[at] ?? now.at(-1))?.focus({ preventScroll: true });
  }
  place.dispatchEvent(new Event("put", { bubbles: true }));
}

// Too much changed: the whole page anew, in the place of what is shown.
async function again(tries = 3) {
  let page;
  behind = true;
  try {
    const answer = await fetch(table.dataset.live.replace("/live", ""));
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    // no way there
  }
  const fresh = page?.querySelector("table[data-live]");
  if (!fresh) {
    behind = true; // another one, begun at the same time, may have come through
    later();
    return;
  }
  unpressed(() => renew(page, fresh, tries));
}

function renew(page, fresh, tries) {
  behind = false;
  const top = [...rows].find((row) => row.getBoundingClientRect().bottom > 0);
  const before = top?.getBoundingClientRect().top;
  keepFocus(() => table.tBodies[0].replaceChildren(...fresh.tBodies[0].rows));
  Object.assign(table.dataset, fresh.dataset);
  [...rows].forEach(begin);
  const same = top && find(top.dataset.key);
  if (same && before < innerHeight) {
    scrollBy({ top: same.getBoundingClientRect().top - before, behavior: "instant" });
  }
  fill("knocks", page.getElementById("knocks").innerHTML);
  fill("last", page.getElementById("last").innerHTML);
  all.textContent = page.getElementById("all").textContent;
  fill("paging", page.getElementById("paging").innerHTML);
  count();
  // What was told while this page was on its way may be newer than it.
  if (number(fresh.dataset.mark) < number(mark) && fresh.dataset.mark.split("-")[0] === mark.split("-")[0] && tries) {
    again(tries - 1);
  } else {
    ({ mark } = fresh.dataset);
  }
  heard();
}

// It stands above the rest.
function warn(old) {
  unpressed(() => (stale.hidden = !old));
}

// Not everything comes any more: the page says so, and tries, more seldom each time, while somebody looks.
function later() {
  warn(true);
  clearTimeout(retry);
  if (!document.hidden) {
    retry = setTimeout(resume, Math.min(LATEST_MS, LATER_MS * 2 ** failures));
    failures += 1;
  }
}

function resume() {
  if (source.readyState === EventSource.CLOSED) {
    listen();
  }
  if (behind) {
    again();
  }
}

function heard() {
  if (!behind && source.readyState === EventSource.OPEN) {
    silent = clearTimeout(silent);
    warn(false);
    failures = 0;
  }
}

function listen() {
  clearTimeout(retry);
  silent = clearTimeout(silent);
  source?.close();
  source = new EventSource(`${table.dataset.live}&from=${mark}`);
  const on = (name, act) =>
    source.addEventListener(name, (event) => {
      mark = event.lastEventId;
      heard();
      unpressed(() => act(JSON.parse(event.data)));
    });
  on("rows", show);
  on("last", ({ html }) => fill("last", html));
  on("knocks", ({ html }) => fill("knocks", html));
  on("again", () => again());
  on("counts", (told) => {
    for (const { key, html } of told.rows) {
      const row = find(key);
      for (const cell of row ? parse(html).querySelectorAll("td") : []) {
        row.querySelector(`td[data-count="${cell.dataset.count}"]`).replaceWith(cell);
        cell.dispatchEvent(new Event("put", { bubbles: true }));
      }
    }
    count(told.all ?? undefined);
  });
  source.addEventListener("open", heard);
  source.addEventListener("error", () => {
    // Closed: signed out, too many watch, or a proxy answered. Otherwise the browser tries again by itself, and tells of
    // each try that fails.
    if (source.readyState === EventSource.CLOSED) {
      later();
    } else {
      silent ??= setTimeout(() => warn(true), SILENT_MS);
    }
  });
}

const units = (unit) => new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "narrow" });
const [inDays, inHours, inMinutes] = ["day", "hour", "minute"].map(units);

function words(left) {
  const [d, h, m, s] = [left / DAY, (left % DAY) / HOUR, (left % HOUR) / MINUTE, (left % MINUTE) / SECOND].map(Math.floor);
  if (left >= 2 * DAY) {
    return `${inDays.format(d)} ${inHours.format(h)}`;
  }
  return left < HOUR ? `${m}:${String(s).padStart(2, "0")}` : `${inHours.format(24 * d + h)} ${inMinutes.format(m)}`;
}

function tell(row) {
  const left = row.ends - Date.now();
  if (left > 0) {
    const place = row.querySelector(".left");
    const text = table.dataset.left.replace("{}", words(left));
    if (place.textContent !== text) {
      place.textContent = text;
    }
  } else if (!row.classList.contains("over")) {
    leave(row);
  }
}

function say(html, good) {
  const told = parse(html);
  // The paragraph stays, so that screen readers tell what comes into it.
  said.querySelector("[role=status]").textContent = told.querySelector("[role=status]").textContent;
  said.querySelector("form")?.remove();
  said.append(told.querySelector("form") ?? "");
  said.classList.toggle("good", good);
  clearTimeout(undo);
  undo = setTimeout(() => said.querySelector("form")?.remove(), UNDO_MS);
}

function answered(told, good) {
  say(told.said, good);
  if (told.rows) {
    show(told);
  }
  if (!document.activeElement?.closest("tr") || document.activeElement.closest(".over")) {
    const key = told.rows?.[0]?.key;
    const next = said.querySelector("button") ?? (key && find(key)?.querySelector("button:not([formaction])"));
    (next || said.querySelector("[role=status]")).focus({ preventScroll: true });
  }
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("form[data-swap], #said form")) {
    return;
  }
  event.preventDefault();
  if ("busy" in form.dataset) {
    return;
  }
  form.dataset.busy = "";
  try {
    const answer = await fetch(event.submitter?.getAttribute("formaction") ?? form.getAttribute("action"), {
      method: "POST",
      body: new URLSearchParams(new FormData(form)),
      headers: { Accept: "application/json" },
    });
    if (!answer.headers.get("Content-Type").startsWith("application/json")) {
      location.reload(); // signed out, too old a page, no gate: what is there now says so
      return;
    }
    const told = await answer.json();
    unpressed(() => answered(told, answer.ok));
  } catch {
    warn(true);
  } finally {
    delete form.dataset.busy;
    delete form.dataset.sent;
  }
});

// Nobody looks: the portal need not, either.
document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  clearTimeout(retry);
  if (document.hidden) {
    hidden = setTimeout(() => source.close(), HIDDEN_MS);
  } else {
    [...rows].forEach(tell);
    resume();
  }
});
addEventListener("pagehide", () => source.close());
addEventListener("pageshow", (event) => event.persisted && listen());

[...rows].forEach(begin);
count();
setInterval(() => document.hidden || [...rows].forEach(tell), SECOND);
listen();
