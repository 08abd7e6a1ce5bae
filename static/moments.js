// Shows moments in the visitor's own time zone instead of the server's, and counts down to the end of what is open.

const { lang, dataset } = document.documentElement;
// The page's language as in the visitor's country: some count to twelve, some name the month first
const language = navigator.languages.find((tag) => tag.split("-")[0] === lang) ?? lang;
const hours = { hour: "numeric", minute: "2-digit" };
const date = { weekday: "long", day: "numeric", month: "long" };
const [clock, dated, withYear] = [hours, date, { ...date, year: "numeric" }].map((parts) => new Intl.DateTimeFormat(language, parts));

function days(moment) {
  const midnight = (date) => Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return (midnight(moment) - midnight(new Date())) / 86_400_000;
}

function show(element) {
  const moment = new Date(element.dateTime);
  const pattern = { "-1": dataset.yesterday, 0: dataset.today, 1: dataset.tomorrow }[days(moment)] ?? dataset.date;
  const whole = moment.getFullYear() === new Date().getFullYear() ? dated : withYear;
  element.textContent = pattern.replace("{date}", whole.format(moment)).replace("{}", clock.format(moment));
}

document.querySelectorAll("time[datetime]").forEach(show);
// Another script has put something into the page.
document.addEventListener("put", (event) => event.target.querySelectorAll("time[datetime]").forEach(show));

const opened = document.getElementById("opened");
const countdown = document.getElementById("countdown");
const here = document.getElementById("here");
const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
let end = Date.now() + Number(opened?.dataset.remainingMs);
const title = document.querySelector("h1");
const open = opened?.dataset.open ?? title?.textContent;
let timer;

// "4:59", "1 hour 59 minutes", "6 days 3 hours": less than an hour by seconds, all else by minutes
function words(left) {
  const [d, h, m, s] = [left / DAY, (left % DAY) / HOUR, (left % HOUR) / MINUTE, (left % MINUTE) / SECOND].map(Math.floor);
  const digits = [m, s].map((number) => String(number).padStart(2, "0")).join(":");
  if (left < HOUR) {
    return digits.replace(/^0/, "");
  }
  const hours = 24 * d + h;
  try {
    return (d > 1 ? [[d, "day"], [h, "hour"]] : [[hours, "hour"], [m, "minute"]])
      .filter(([number]) => number)
      .map(([number, unit]) => number.toLocaleString(language, { style: "unit", unit, unitDisplay: "long" }))
      .join(" ");
  } catch {
    return `${hours}:${digits}`; // a browser that knows no units
  }
}

// The door stands open (.done) while what people came for is open
function headline() {
  const over = opened.classList.contains("over"), astray = "astray" in opened.dataset;
  title.classList.toggle("done", !over && !astray);
  title.textContent = over ? countdown.dataset.over : astray ? opened.dataset.lost : open;
}

function put(time, moment) {
  time.dateTime = moment;
  show(time);
}

function tick() {
  clearTimeout(timer);
  // Whole seconds, rounded up: it says 0:01 until it is over
  const left = Math.ceil((end - Date.now()) / SECOND) * SECOND;
  const over = left <= 0;
  countdown.hidden = false;
  if (opened.classList.contains("over") !== over) {
    opened.classList.toggle("over", over);
    headline();
  }
  if (over) {
    const again = document.createElement("a");
    Object.assign(again, { className: "button", href: location.pathname, textContent: countdown.dataset.again });
    countdown.replaceChildren(again);
    return;
  }
  const [before, after] = countdown.dataset.left.split("{}");
  const time = document.createElement("time");
  time.textContent = words(left);
  countdown.replaceChildren(before, time, after);
  if (!document.hidden) {
    timer = setTimeout(tick, left < HOUR + MINUTE ? (end - Date.now()) % SECOND || SECOND : MINUTE);
  }
}

if (opened) {
  document.addEventListener("visibilitychange", tick);
  // onward.js saw which families are open
  opened.addEventListener("told", headline);
  // keep.js started the time again
  opened.addEventListener("renewed", ({ detail }) => {
    document.querySelectorAll("#until time").forEach((time) => put(time, detail.until));
    for (const row of opened.querySelectorAll("[data-service]")) {
      put(row.querySelector("time"), detail.services[row.dataset.service] ?? detail.until);
    }
    here.innerHTML = detail.here;
    end = Date.now() + detail.remaining_ms;
    tick();
  });
  tick();
}
