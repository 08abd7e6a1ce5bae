// Opens a link by itself once somebody looks at its page, posts a double tap once, and shows that it is underway.

const form = document.getElementById("open");
const button = form?.querySelector("button");
const words = button?.textContent;
const progress = document.getElementById("progress");
const AGAIN_MS = 60_000;
const SLOW_MS = 4000;
const GIVE_UP_MS = 20_000;
// Within this tab, for this link: coming back from the service must not send the visitor there again.
const key = `opened ${location.pathname}`;

function remembered() {
  try {
    return Date.now() - Number(sessionStorage.getItem(key)) < AGAIN_MS;
  } catch {
    return true; // without memory it might open for ever: leave it to the button
  }
}

function remember() {
  try {
    sessionStorage.setItem(key, String(Date.now()));
    return true;
  } catch {
    return false;
  }
}

function ready() {
  delete form.dataset.sent;
  button.removeAttribute("aria-disabled");
  button.textContent = words;
  progress.hidden = true;
}

// A page that waits for an answer stands still: its words must say that something goes on
function wait() {
  const slow = document.querySelectorAll('[data-say="slow"]');
  setTimeout(() => slow.forEach((sentence) => { sentence.hidden = false; }), SLOW_MS);
  setTimeout(ready, GIVE_UP_MS); // the browser's own button may have stopped it
}

function cameBack() {
  return performance.getEntriesByType("navigation")[0]?.type === "back_forward";
}

function openWhenSeen() {
  if (document.prerendering || document.visibilityState !== "visible" || "sent" in form.dataset) {
    return;
  }
  if (!remembered() && remember()) {
    form.requestSubmit();
  }
}

if (form) {
  form.addEventListener("submit", (event) => {
    if ("sent" in form.dataset) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "";
    button.setAttribute("aria-disabled", "true");
    button.textContent = button.dataset.busy;
    progress.hidden = false;
    remember();
    wait();
  });

  addEventListener("pageshow", (event) => {
    if (event.persisted) {
      ready();
    }
  });

  if ("auto" in form.dataset && !cameBack()) {
    document.addEventListener("visibilitychange", openWhenSeen);
    document.addEventListener("prerenderingchange", openWhenSeen);
    openWhenSeen();
  }
}
