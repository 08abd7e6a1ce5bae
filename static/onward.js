// Once the way is open: opens it for the other address family too, sees whether the service answers, and moves on.

const SHOWN_MS = 1000; // so that people see what happened
const OTHER_MS = 1500;
const SERVICE_MS = 4000;
const AGAIN_MS = 1500;

const opened = document.getElementById("opened");
const next = document.getElementById("next");
const stay = document.getElementById("stay");
const keep = document.querySelector("#keep input");
const { family, needs, lost } = opened.dataset;
const reached = new Set([family]);
let staying = false;

function pause(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

function within(ms) {
  const limit = new AbortController();
  setTimeout(() => limit.abort(), ms);
  return limit.signal;
}

function say(what, said = true) {
  const sentence = document.querySelector(`[data-say="${what}"]`);
  if (sentence) {
    sentence.hidden = !said;
  }
}

// Says whether a family that a service needs is not there.
function tell() {
  const missing = Boolean(needs) && !reached.has(needs);
  say("needs", missing);
  opened.toggleAttribute("data-astray", missing && Boolean(lost));
  opened.dispatchEvent(new Event("told"));
}

// Whether the other family is open now as well. A line without it is no failure, but where a service needs it.
async function openOther() {
  const url = opened.dataset.also;
  let open = false;
  if (url) {
    try {
      const answer = await fetch(url, { method: "POST", credentials: "omit", signal: within(OTHER_MS) });
      open = answer.ok;
      await answer.text(); // the connection is free then
    } catch {
      // no way there, or too slow a one
    }
    say("both-families", open);
    say("one-family", !open && opened.dataset.family === family);
  }
  if (open) {
    reached.add("IPv4").add("IPv6");
  }
  tell();
  return open;
}

// In another network one family comes up after the other
async function openOtherAgain({ detail: { how } }) {
  const { also: url, family: seen } = opened.dataset;
  if (!["open", "still"].includes(how)) {
    reached.clear();
  }
  reached.add(seen);
  for (const wait of [0, 3000, 9000, 27_000]) {
    await pause(wait);
    if (opened.dataset.also !== url || await openOther() || !url) {
      return;
    }
  }
}

// Whether anything answers at `url`, whatever it says.
async function answers(url) {
  if (location.protocol === "https:" && !url.startsWith("https:")) {
    return true; // browsers do not let a page try that
  }
  // A redirect to another host breaks this page's policy: it is an answer all the same
  const elsewhere = new Promise((done) => document.addEventListener("securitypolicyviolation", () => done(true)));
  const signal = within(SERVICE_MS);
  while (!signal.aborted) {
    try {
      await fetch(url, { method: "HEAD", mode: "no-cors", credentials: "omit", cache: "no-store", signal });
      return true;
    } catch {
      // it may be starting
      if (await Promise.race([elsewhere, pause(signal.aborted ? 0 : AGAIN_MS)])) {
        return true;
      }
    }
  }
  return false;
}

function going(on) {
  say("going", on);
  stay.hidden = !on;
}

function stop() {
  staying = true;
  going(false);
}

// The page keeps the way open, so that it must not go away itself
function newTab() {
  next.target = keep.checked ? "_blank" : "";
  next.rel = "noopener";
  if (keep.checked) {
    stop();
  }
}

async function onward() {
  const shown = pause(SHOWN_MS);
  const both = await openOther();
  if (!next) {
    return;
  }
  const astray = "astray" in opened.dataset;
  const answered = !astray && await answers(next.href);
  if (!astray) {
    await shown;
  }
  if (!answered) {
    stop();
    say("no-answer", !astray);
    say("other-family", !astray && !both);
    next.textContent = next.dataset.anyway;
  } else if (!staying) {
    location.replace(next.href); // the way back leads past this page
  }
}

// Loading again, or coming back, asks for the link's page instead of sending its form a second time
history.replaceState(null, "", location.href);
opened.addEventListener("renewed", openOtherAgain);
if (next) {
  going(true);
  stay.addEventListener("click", stop);
  keep?.addEventListener("change", newTab);
  if (keep?.checked) {
    newTab();
  }
}
onward();
