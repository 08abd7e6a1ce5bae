// Shows moments in the visitor's own time zone instead of the server's.

const language = document.documentElement.lang;
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const whole = new Intl.DateTimeFormat(language, {
  weekday: "long", day: "numeric", month: "long", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});

function days(moment) {
  const midnight = (date) => Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return (midnight(moment) - midnight(new Date())) / 86_400_000;
}

for (const time of document.querySelectorAll("time")) {
  const moment = new Date(time.dateTime);
  const pattern = [time.dataset.today, time.dataset.tomorrow][days(moment)];
  time.textContent = pattern ? pattern.replace("{}", clock.format(moment)) : whole.format(moment);
}
