// A second tap while the first is underway sends nothing.

for (const form of document.forms) {
  form.addEventListener("submit", (event) => {
    if ("sent" in form.dataset) {
      event.preventDefault();
    }
    form.dataset.sent = "";
  });
}

addEventListener("pageshow", (event) => {
  for (const form of event.persisted ? document.forms : []) {
    delete form.dataset.sent;
  }
});
