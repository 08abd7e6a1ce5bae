// A second tap while the first is underway sends nothing.

const GIVE_UP_MS = 20_000; // the browser's own button may have stopped it

for (const form of document.forms) {
  form.addEventListener("submit", (event) => {
    if ("sent" in form.dataset) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "";
    setTimeout(() => delete form.dataset.sent, GIVE_UP_MS);
  });
}

addEventListener("pageshow", (event) => {
  for (const form of event.persisted ? document.forms : []) {
    delete form.dataset.sent;
  }
});
