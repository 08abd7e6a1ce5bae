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
const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
let until = opened?.dataset.until;
let end = Date.now() + Number(opened?.dataset.remainingMs);
const title = document.querySelector("h1");
const open = title?.textContent;
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

function tick() {
  clearTimeout(timer);
  // Whole seconds, rounded up: it says 0:01 until it is over
  const left = Math.ceil((end - Date.now()) / SECOND) * SECOND;
  const over = left <= 0;
  countdown.hidden = false;
  if (title.classList.contains("done") === over) {
    title.classList.toggle("done", !over);
    title.textContent = over ? countdown.dataset.over : open;
    opened.classList.toggle("over", over);
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

if (opened?.dataset.until && countdown) {
  document.addEventListener("visibilitychange", tick);
  // keep.js started the time again
  opened.addEventListener("renewed", () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      if (time.dateTime === until) {
        time.dateTime = opened.dataset.until;
        show(time);
      }
    }
    until = opened.dataset.until;
    end = Date.now() + Number(opened.dataset.remainingMs);
    tick();
  });
  tick();
}
