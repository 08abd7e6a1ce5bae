// Keeps the way open while this page is, if the visitor wants that: starts the time again before it ends, and at once
// where the network changed. Stops when nobody looks for long.

const SECOND = 1000, MINUTE = 60 * SECOND;
const GAP = 20 * SECOND; // at the least, where the network did not change
const LOOK = 5 * MINUTE; // while somebody looks: a router's new address tells nobody
const LONG = 30 * MINUTE; // hidden for so long, it stops
const ANSWER = 10 * SECOND;

const opened = document.getElementById("opened");
const label = document.getElementById("keep");
const box = label.querySelector("input");
const key = `keep ${opened.dataset.link}`;
const network = navigator.connection;
let type = network?.type;
let hiddenAt = document.hidden ? Date.now() : null;
let last = Date.now(), failures = 0, kept = "kept", due, timer, underway, said;

function stored(use) {
  try {
    return use(localStorage);
  } catch {
    return null; // a browser that keeps nothing: it holds for this page
  }
}

function say(what) {
  if (said) {
    said.hidden = true;
  }
  said = document.querySelector(`[data-say="${what}"]`);
  said.hidden = false;
}

function soon() {
  const ms = Number(opened.dataset.remainingMs);
  due = Date.now() + Math.min(0.8 * ms, ms - MINUTE);
}

function plan() {
  const seen = hiddenAt === null ? last + LOOK : hiddenAt + LONG;
  const at = failures ? last + Math.min(MINUTE, SECOND * 2 ** failures) : Math.max(last + GAP, Math.min(due, seen));
  clearTimeout(timer);
  timer = setTimeout(renew, at - Date.now());
}

function drop() {
  underway?.abort();
  underway = null;
}

async function renew() {
  if (!box.checked) {
    return;
  }
  drop(); // it may have left from an address that is gone
  if (hiddenAt !== null && Date.now() - hiddenAt >= LONG) {
    say("paused");
    return;
  }
  const mine = underway = new AbortController();
  const limit = setTimeout(() => mine.abort(), ANSWER);
  const { dataset } = opened;
  last = Date.now();
  try {
    const body = new URLSearchParams({ form: dataset.form });
    const answer = await fetch(dataset.stay, { method: "POST", body, redirect: "error", signal: mine.signal });
    if (answer.status >= 400 && answer.status < 500) {
      location.replace(location.pathname); // that page says what to do
      return;
    }
    const detail = await answer.json();
    const { how, form, remaining_ms: remainingMs, address, left, also } = detail;
    const family = address.includes(":") ? "IPv6" : "IPv4";
    Object.assign(dataset, { form, remainingMs, family, also: also ?? "" });
    failures = 0;
    soon();
    kept = "kept";
    if (how === "still") {
      due = Infinity;
      kept = how;
    }
    say(left.length ? "moved" : kept);
    opened.dispatchEvent(new CustomEvent("renewed", { detail }));
  } catch { // nothing came, or what the gateway says when it is in trouble
    if (mine !== underway) {
      return;
    }
    failures += 1;
    say("retrying");
  } finally {
    clearTimeout(limit);
  }
  plan();
}

function toggled() {
  stored((storage) => (box.checked ? storage.setItem(key, "") : storage.removeItem(key)));
  failures = 0;
  if (box.checked) {
    say(kept);
    plan();
  } else {
    said.hidden = true;
    clearTimeout(timer);
    drop();
  }
}

label.hidden = false;
soon();
box.checked = stored((storage) => storage.getItem(key)) !== null;
box.addEventListener("change", toggled);
if (box.checked) {
  toggled();
}
addEventListener("online", renew);
// On a computer this event tells of mere speeds too, many times an hour
network?.addEventListener("change", () => {
  if (network.type !== type) {
    type = network.type;
    renew();
  }
});
document.addEventListener("visibilitychange", () => {
  const away = hiddenAt === null ? 0 : Date.now() - hiddenAt;
  hiddenAt = document.hidden ? hiddenAt ?? Date.now() : null;
  if (box.checked) {
    away > MINUTE && !document.hidden ? renew() : plan();
  }
});
