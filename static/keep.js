// Keeps the way open while this page is open, if the visitor wants that: starts the time again before it ends, and
// at once where the network changed. Stops when nobody looks for long.

const SECOND = 1000, MINUTE = 60 * SECOND;
const GAP = 20 * SECOND; // at the least, between two times without a change of network
const LOOK = 5 * MINUTE; // while somebody looks: a router's new address tells nobody
const LONG = 30 * MINUTE; // hidden for so long, it stops
const ANSWER = 10 * SECOND;

const opened = document.getElementById("opened");
const label = document.getElementById("keep");
const box = label?.querySelector("input");
const key = `keep ${opened?.dataset.link}`;
const network = navigator.connection;
let type = network?.type;
let hiddenAt = document.hidden ? Date.now() : null;
let last = Date.now();
let due, timer, underway, failures = 0;

function remembered() {
  try {
    return localStorage.getItem(key) !== null;
  } catch {
    return false; // a browser that keeps nothing
  }
}

function remember(on) {
  try {
    on ? localStorage.setItem(key, "") : localStorage.removeItem(key);
  } catch {
    // it holds for this page then
  }
}

function say(what) {
  for (const sentence of document.querySelectorAll("[data-say]")) {
    if (["kept", "paused", "retrying", "moved"].includes(sentence.dataset.say)) {
      sentence.hidden = sentence.dataset.say !== what;
    }
  }
}

function left() {
  const ms = Number(opened.dataset.remainingMs);
  due = Date.now() + Math.min(0.8 * ms, ms - MINUTE);
}

function plan() {
  const seen = hiddenAt === null ? last + LOOK : hiddenAt + LONG;
  const at = failures ? last + Math.min(MINUTE, SECOND * 2 ** failures) : Math.max(last + GAP, Math.min(due, seen));
  clearTimeout(timer);
  timer = setTimeout(renew, at - Date.now());
}

async function ask(signal) {
  const body = new URLSearchParams({ form: opened.dataset.form });
  const answer = await fetch(opened.dataset.stay, { method: "POST", body, redirect: "error", signal });
  if (answer.status >= 400 && answer.status < 500) {
    return null;
  }
  if (!answer.ok) {
    throw new Error(answer.status);
  }
  return answer.json();
}

async function renew() {
  if (!box.checked) {
    return;
  }
  underway?.abort(); // it may have left from an address that is gone
  if (hiddenAt !== null && Date.now() - hiddenAt >= LONG) {
    say("paused");
    return;
  }
  const mine = underway = new AbortController();
  const limit = setTimeout(() => mine.abort(), ANSWER);
  last = Date.now();
  try {
    const now = await ask(mine.signal);
    if (now === null) {
      location.replace(location.pathname); // that page says what to do
      return;
    }
    failures = 0;
    const family = now.address.includes(":") ? "IPv6" : "IPv4";
    Object.assign(opened.dataset, { form: now.form, until: now.until, remainingMs: now.remaining_ms, also: now.also ?? "", family });
    left();
    if (now.how === "still") {
      due = Infinity; // a used-up link starts no time again
    }
    say(now.left.length ? "moved" : "kept");
    opened.dispatchEvent(new Event("renewed"));
  } catch {
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
  remember(box.checked);
  failures = 0;
  if (box.checked) {
    say("kept");
    plan();
  } else {
    say("");
    clearTimeout(timer);
    underway?.abort();
  }
}

if (box && opened.dataset.form && opened.dataset.stay) {
  label.hidden = false;
  left();
  box.checked = remembered();
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
}
